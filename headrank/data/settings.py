"""Define the settings of a benchmark or a labelled training set. `loader.py` loads its candidate lists."""

from dataclasses import replace
from typing import Annotated

from headrank.data.bm25.words import BM25Parameters
from headrank.data.first_stage import FirstStage
from headrank.data.teacher import LabelSource
from headrank.data.trec import Duplicates
from headrank.settings import Ge, one_of, settings, wrong


@settings
class DataSettings:
    """The settings of a benchmark or a labelled training set."""

    name: str  # name in files and table rows
    collection: str  # an ir_datasets id, a folder, a file of requests (*.jsonl), or sample/train, sample/test
    # bm25 | run | scoreddocs | auto (the run of a local folder, the lists of requests, otherwise bm25)
    first_stage: Annotated[str, one_of(FirstStage)] = "bm25"
    run_path: str | None = None  # the TREC run file, for first_stage run and auto
    depth: Annotated[int, Ge(1)] = 40  # candidates per query
    max_queries: Annotated[int, Ge(1)] | None = None  # size of a random sample of the judged queries; None: all
    seed: int = 0  # seed of that sample
    relevance_threshold: Annotated[int, Ge(1)] = 1  # lowest grade that counts as relevant in binary measures
    drop_identical_ids: bool = False  # drop candidates whose id is the query's (arguana, quora)
    duplicates: Annotated[str, one_of(Duplicates)] = "error"  # a passage twice in a run: error | best (its best place)
    qrels: str | None = None  # judgements of requests: a file or a collection; None: the candidates' grades
    labels: str | None = None  # of training sets: None (the judgements) | run:PATH | judged+run:PATH, see `LabelSource`
    teacher_levels: Annotated[int, Ge(2)] = 4  # grades that scores become with labels run:PATH, see `teacher_grades`
    title: bool = True  # put a passage's title before its text
    notice: str | None = None  # shown in the report next to the numbers
    licence: str | None = None  # the known licence terms of the data; `headrank.doctor` shows them
    # training lists of each epoch of alignment, drawn without replacement over the epochs; None: each list once
    lists_per_epoch: Annotated[int, Ge(1)] | None = None
    bm25: BM25Parameters = BM25Parameters()  # the language of the texts, and the formula of first stage bm25

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise wrong("name", self.name, "a word without '/' and leading dot, which names files")
        LabelSource.parse(self.labels, self.name)

    @property
    def label_source(self) -> LabelSource:
        """The source of the labels, from `labels`."""
        return LabelSource.parse(self.labels, self.name)

    def with_min_depth(self, depth: int) -> "DataSettings":
        """Return a copy of these settings whose `depth` (candidates per query) is at least the given one."""
        return replace(self, depth=max(self.depth, depth))
