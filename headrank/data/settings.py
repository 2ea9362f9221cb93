"""Define the settings of a benchmark or a labelled training set. `loader.py` loads its candidate lists."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from headrank.data.bm25.words import BM25Parameters
from headrank.data.first_stage import FirstStage
from headrank.data.teacher import LabelSource
from headrank.data.trec import Duplicates
from headrank.settings import Ge, Le, one_of, settings, wrong


@settings
class NegativeShares:
    """Where the passages of grade 0 of a generated list come from, as shares that add up to 1. [ours]"""

    bm25: Annotated[float, Ge(0)] = 0.5  # the best of BM25
    middle: Annotated[float, Ge(0)] = 0.25  # of BM25's ranks from the list's depth down to 10 times the depth
    random: Annotated[float, Ge(0)] = 0.25  # of the whole collection

    def __post_init__(self) -> None:
        total = self.bm25 + self.middle + self.random
        if abs(total - 1) > 1e-6:
            raise wrong("", [self.bm25, self.middle, self.random], "shares that add up to 1")


@settings
class GeneratedQueries:
    """How queries are made from the passages of a collection (`generated.py`). The defaults are ours.

    Words of Chinese, Japanese and Korean are single characters.
    """

    queries: Annotated[int, Ge(1)] | None = 200  # one of a passage each; None: all passages that are long enough
    unit: Annotated[str, one_of(("span", "sentence"))] = "span"  # span: consecutive words | sentence
    min_words: Annotated[int, Ge(1)] = 4  # words of a query, at least
    max_words: Annotated[int, Ge(1)] = 12  # and at most
    # The probability that the query's words stay in its passage. Lists in which they are always deleted from it, but
    # not from the best of BM25, teach the heads to avoid words of the query.
    keep: Annotated[float, Ge(0), Le(1)] = 0.8
    delete_from_negatives: bool = True  # if they are deleted: also from the other passages, except stop words
    negatives: NegativeShares = NegativeShares()
    min_passage_words: Annotated[int, Ge(2)] = 30  # shorter passages become no query
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_words < self.min_words:
            raise wrong("max_words", self.max_words, f"at least min_words, {self.min_words}")
        if self.min_passage_words <= self.max_words:
            raise wrong("min_passage_words", self.min_passage_words, f"more than max_words, {self.max_words}")


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
    labels: str | None = (
        None  # of training sets: None (the judgements) | [judged+]run:PATH | [judged+]teacher, see `LabelSource`
    )
    teacher_levels: Annotated[int, Ge(2)] = 4  # grades that scores become without judged+, see `teacher_grades`
    title: bool = True  # put a passage's title before its text
    notice: str | None = None  # shown in the report next to the numbers
    licence: str | None = None  # the known licence terms of the data; `headrank.doctor` shows them
    # training lists of each epoch of alignment, drawn without replacement over the epochs; None: each list once
    lists_per_epoch: Annotated[int, Ge(1)] | None = None
    bm25: BM25Parameters = BM25Parameters()  # the language of the texts, and the formula of first stage bm25
    generated: GeneratedQueries | None = None  # make the queries from passages; None: the collection's queries

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise wrong("name", self.name, "a word without '/' and leading dot, which names files")
        LabelSource.parse(self.labels, self.name)
        if self.generated is not None:
            for key, expected in (
                ("first_stage", "bm25"),
                ("run_path", None),
                ("qrels", None),
                ("labels", None),
                ("relevance_threshold", 1),
            ):
                if getattr(self, key) != expected:
                    raise wrong(key, getattr(self, key), f"{expected or 'null'}: its queries are generated")
            if self.depth < 2:
                raise wrong("depth", self.depth, "at least 2: a passage and another")

    @property
    def label_source(self) -> LabelSource:
        """The source of the labels, from `labels`."""
        return LabelSource.parse(self.labels, self.name)

    def with_labels(self, run: Path) -> "DataSettings":
        """Return a copy of these settings whose labels `[judged+]teacher` are those of the teacher's run."""
        return replace(self, labels=f"{'judged+' if self.label_source.judged else ''}run:{run}")

    def with_min_depth(self, depth: int) -> "DataSettings":
        """Return a copy of these settings whose `depth` (candidates per query) is at least the given one.

        Settings with generated queries are unchanged: a deeper list would contain other passages at the top.
        """
        return self if self.generated else replace(self, depth=max(self.depth, depth))

    @property
    def judged(self) -> bool:
        """Whether people judged the grades: queries are not generated, and no teacher made the grades."""
        return self.generated is None and self.label_source.judged


def unjudged_ids(origins: Mapping[str, int], sources: Sequence[DataSettings]) -> set[str]:
    """Return the ids of the queries without human judgements, which are held out only if there are too few others.

    If no data set is judged, only generated queries are returned.

    origins: query id -> the index of its data set in `sources`.
    """
    any_judged = any(one.judged for one in sources)
    return {
        query_id
        for query_id, i in origins.items()
        if sources[i].generated is not None or (any_judged and not sources[i].judged)
    }
