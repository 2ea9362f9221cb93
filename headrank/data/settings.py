"""What a benchmark or a labelled training set is, in plain data: a collection, a first stage, how much of both.

`loading.py` makes lists of it, for every stage the same.
"""

from dataclasses import replace
from typing import Annotated

from headrank.data.first_stage import FirstStage
from headrank.settings import Ge, one_of, settings, wrong


@settings
class DataSettings:
    """A benchmark or a labelled training set."""

    name: str  # of its files and rows
    collection: str  # an ir_datasets id, a folder, or sample/train, sample/test
    # bm25 | run | scoreddocs | auto: the run of a local folder, or BM25
    first_stage: Annotated[str, one_of(FirstStage)] = "bm25"
    run_path: str | None = None  # the TREC run, for first_stage run and auto
    depth: Annotated[int, Ge(1)] = 40  # candidates per query
    max_queries: Annotated[int, Ge(1)] | None = None  # a seeded sample of the judged queries; None: all
    seed: int = 0  # of that sample
    relevance_threshold: Annotated[int, Ge(1)] = 1  # grade from which a passage counts as relevant in binary measures
    drop_identical_ids: bool = False  # drop candidates whose id is the query's (arguana, quora)
    title: bool = True  # put a passage's title before its text
    notice: str | None = None  # shown in the report next to the numbers
    licence: str | None = None  # the data's terms, as far as they are known here; `headrank.doctor` shows them

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise wrong("name", self.name, "a word without '/' and leading dot, which names files")

    def deepened(self, depth: int) -> "DataSettings":
        """The same with at least `depth` candidates per query."""
        return replace(self, depth=max(self.depth, depth))
