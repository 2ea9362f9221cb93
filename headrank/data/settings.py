"""What a benchmark or a labelled training set is, in plain data: a collection, a first stage, how much of both.

`loading.py` makes lists of it, for every stage the same.
"""

from dataclasses import dataclass, replace

from headrank.data.first_stage import FirstStage


@dataclass(frozen=True, slots=True)
class DataSettings:
    """A benchmark or a labelled training set. Raises `ValueError` for values without a meaning."""

    name: str  # of its files and rows
    collection: str  # an ir_datasets id, a folder, or sample/train, sample/test
    first_stage: str = "bm25"  # bm25 | run | scoreddocs | auto: the run of a local folder, or BM25 if it holds none
    run_path: str | None = None  # the TREC run, for first_stage run and auto
    depth: int = 40  # candidates per query
    max_queries: int | None = None  # a seeded sample of the judged queries; None: all
    seed: int = 0  # of that sample
    relevance_threshold: int = 1  # grade from which a passage counts as relevant in binary measures
    drop_identical_ids: bool = False  # drop candidates whose id is the query's (arguana, quora)
    title: bool = True  # put a passage's title before its text
    notice: str | None = None  # said in the report beside the numbers
    licence: str | None = None  # the data's terms, as far as they are known here; `headrank.doctor` shows them

    def __post_init__(self) -> None:
        if self.first_stage not in list(FirstStage):
            raise ValueError(
                f"data {self.name}: first_stage is {self.first_stage!r}, wanted one of {', '.join(FirstStage)}"
            )
        if self.depth < 1:
            raise ValueError(f"data {self.name}: depth is {self.depth}, wanted at least 1")
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise ValueError(f"data name {self.name!r} names files: wanted a word without '/' and leading dot")

    def deepened(self, depth: int) -> "DataSettings":
        """The same with at least `depth` candidates per query."""
        return replace(self, depth=max(self.depth, depth))
