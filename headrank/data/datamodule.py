"""Training data for alignment: labelled candidate lists of one or more collections, in batches, for Lightning.

    data = ListwiseDataModule([DataSettings("dl21", "msmarco-passage-v2/trec-dl-2021/judged"), ...])
    trainer.fit(module, datamodule=data)

A `Batch` holds `LabelledList`s: texts and plain numbers; making tensors of them is the model's business. How lists
are split, ordered and shared among processes is in `batches.py`. Needs the extra `train`, hence not imported by
`headrank.data`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule

from headrank.data.batches import Batch, Batches, Place, check_shares, training_batches, validation_batches
from headrank.data.labelled import LabelledList, distinct_ids, drawn, shuffled, split
from headrank.data.loader import load_data
from headrank.data.settings import DataSettings
from headrank.logs import counts_text

__all__ = ["Batch", "Batches", "DataCounts", "LabelledList", "ListwiseDataModule"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataCounts:
    """What became of the judged queries asked for; the other five add up to `queries`.

    lists_without_candidates: the first stage found nothing. lists_of_one_grade: nothing to learn an order from.
    lists_left_out: training lists beyond `query_fraction`.
    """

    queries: int
    lists_without_candidates: int
    lists_of_one_grade: int
    validation_lists: int
    training_lists: int
    lists_left_out: int


@dataclass(frozen=True, slots=True)
class _Loaded:
    lists: tuple[LabelledList, ...]  # with two grades or more
    pools: Mapping[str, LabelledList]  # by query id: all candidates that a list's draws are from
    queries: int
    without_candidates: int
    one_grade: int


class ListwiseDataModule(LightningDataModule):
    """Labelled lists of several sources, split by query into training and validation.

    sources: at least one. Where an id stands for different queries in two of them, see `distinct_ids`.
    validation_queries: held out from the queries whose lists have two grades or more; 0 for no validation.
    lists_per_batch: per process. lists_per_step: between two optimizer steps, all processes together, so that a step
        holds the same lists however many processes share it; 0: a batch in each process.
    shuffle_candidates: context orders of training lists differ by epoch, those of validation lists are fixed (those
        of `Order.SHUFFLED` with this seed). Without it, all are read in first-stage order.
    draw_candidates: candidates of each training list, others each epoch (see `drawn`); 0: all. Held-out lists
        stay whole.
    draw_depth: they are drawn from the first stage's top `draw_depth`, if a source's own depth is less; not more
        than the list itself has. Held-out lists and `training_lists` keep that depth, and a query is used if there are
        two grades within it.
    query_fraction: share of the training queries that is used, in (0, 1]; smaller shares lie in larger ones.
    seed: of split and orders.
    cache_dir: where BM25 indexes are kept; by default the user's cache folder.

    Epoch and rank are the trainer's; without a trainer epoch 0, and torch.distributed's rank where it is initialised.
    Raises `ValueError` on values that cannot be; `prepare_data` and `setup` raise what loading the sources raises, and
    `ValueError` where there is nothing to train on, or less than a list for each process.
    """

    def __init__(
        self,
        sources: Sequence[DataSettings],
        *,
        validation_queries: int = 10,
        lists_per_batch: int = 1,
        lists_per_step: int = 0,
        shuffle_candidates: bool = True,
        draw_candidates: int = 0,
        draw_depth: int = 0,
        query_fraction: float = 1.0,
        seed: int = 0,
        cache_dir: Path | None = None,
    ) -> None:
        super().__init__()
        if not sources:
            raise ValueError("no training sources; expected at least one labelled collection")
        if validation_queries < 0:
            raise ValueError(f"validation_queries {validation_queries}: expected 0 or more")
        if lists_per_batch < 1:
            raise ValueError(f"lists_per_batch {lists_per_batch}: expected 1 or more")
        if lists_per_step < 0:
            raise ValueError(f"lists_per_step {lists_per_step}: expected 0 for a batch in each process, or more")
        if draw_candidates and draw_candidates < 2:
            raise ValueError(f"draw_candidates {draw_candidates}: expected 0 for all, or at least 2 for a pair")
        if draw_depth < 0:
            raise ValueError(f"draw_depth {draw_depth}: expected 0 or more")
        if not 0 < query_fraction <= 1:
            raise ValueError(f"query_fraction {query_fraction}: expected more than 0 and at most 1 (for all)")
        self.sources = tuple(sources)
        self.validation_queries = validation_queries
        self.lists_per_batch, self.lists_per_step = lists_per_batch, lists_per_step
        self.shuffle_candidates, self.draw_candidates, self.draw_depth = shuffle_candidates, draw_candidates, draw_depth
        self.query_fraction = query_fraction
        self.seed = seed
        self.cache_dir = cache_dir
        self._loaded: _Loaded | None = None
        self._split: tuple[tuple[LabelledList, ...], tuple[LabelledList, ...], DataCounts] | None = None

    def prepare_data(self) -> None:
        """Download, build passage stores and BM25 indexes, by loading all once. Lightning calls it in one process."""
        self._load()

    def setup(self, stage: str | None = None) -> None:
        """Load the lists and split them; the same for every stage, and done once."""
        if self._split is not None:
            return
        loaded = self._load()
        if not loaded.lists:
            raise ValueError(
                f"none of {loaded.queries} queries of {', '.join(s.collection for s in self.sources)} has candidates "
                f"of two grades: {loaded.one_grade} lists of one grade only, {loaded.without_candidates} without "
                "candidates. Expected lists that hold judged passages of different grades (grades below 0 and unjudged "
                "passages count as 0): are run and judgements of this collection, and is the depth enough?"
            )
        training, validation = split(
            loaded.lists, validation=self.validation_queries, fraction=self.query_fraction, seed=self.seed
        )
        check_shares(len(training), len(validation), self._place().ranks)
        counts = DataCounts(
            queries=loaded.queries,
            lists_without_candidates=loaded.without_candidates,
            lists_of_one_grade=loaded.one_grade,
            validation_lists=len(validation),
            training_lists=len(training),
            lists_left_out=len(loaded.lists) - len(validation) - len(training),
        )
        _log.info(
            "alignment data: %d judged queries, %d training and %d validation lists%s",
            *(counts.queries, counts.training_lists, counts.validation_lists),
            counts_text(
                (counts.lists_left_out, "lists left out by query_fraction"),
                (counts.lists_of_one_grade, "lists of one grade not used"),
                (counts.lists_without_candidates, "queries without candidates"),
            ),
        )
        self._split = (training, validation, counts)

    @property
    def training_lists(self) -> tuple[LabelledList, ...]:
        """The lists trained on, in first-stage order, by source (for choosing heads again)."""
        return self._ready()[0]

    @property
    def validation_lists(self) -> tuple[LabelledList, ...]:
        """The held-out lists, in first-stage order, by source."""
        return self._ready()[1]

    @property
    def counts(self) -> DataCounts:
        """What became of the queries. Raises `RuntimeError` before `setup`, as the lists do."""
        return self._ready()[2]

    def train_dataloader(self) -> Batches:
        """The training lists: order of lists and of candidates by epoch, batches of like length before draws.

        Each process has its own part of an epoch's lists (see `training_batches`), and every list has the same share in
        its step, so that N processes take the steps of one.
        """
        return Batches(
            self.training_lists,
            plan=lambda lengths, place: training_batches(
                lengths, self.lists_per_batch, self.seed, place, lists_per_step=self.lists_per_step
            ),
            read=lambda one, place: self._ordered(self._drawn(one, place), f"{self.seed}:{place.epoch}"),
            place=self._place,
            weight=1 / self.lists_per_batch,  # also in a last, shorter batch: every list of an epoch counts the same
        )

    def val_dataloader(self) -> Batches | list[Batches]:
        """The held-out lists in fixed orders, each in one process once (see `validation_batches`).

        Where none is held out an empty list, with which Lightning does not validate. It warns, though, unless it is
        told so: `Trainer(limit_val_batches=0)`.
        """
        if not self.validation_lists:
            return []
        return Batches(
            self.validation_lists,
            plan=lambda lengths, place: validation_batches(lengths, self.lists_per_batch, place),
            read=lambda one, place: self._ordered(one, f"{self.seed}"),
            place=self._place,
        )

    def _drawn(self, one: LabelledList, place: Place) -> LabelledList:
        if not self.draw_candidates:
            return one
        pool = self._load().pools[one.item.query.id]
        return drawn(pool, min(self.draw_candidates, len(one.item)), f"{self.seed}:{place.epoch}")

    def _ordered(self, one: LabelledList, key: str) -> LabelledList:
        return shuffled(one, key) if self.shuffle_candidates else one

    def _place(self) -> Place:
        if self.trainer is not None:
            return Place(self.trainer.current_epoch, self.trainer.global_rank, self.trainer.world_size)
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return Place(0, distributed.get_rank(), distributed.get_world_size())
        return Place()

    def _ready(self) -> tuple[tuple[LabelledList, ...], tuple[LabelledList, ...], DataCounts]:
        if self._split is None:
            raise RuntimeError("the data is not loaded: call prepare_data() and setup() first (a Trainer does)")
        return self._split

    def _load(self) -> _Loaded:
        """Every source's labelled lists. Kept, so that the process that prepared the data does not read it twice."""
        if self._loaded is not None:
            return self._loaded
        pools: list[tuple[str, LabelledList]] = []
        depths: list[int] = []
        queries = without_candidates = 0
        for source in self.sources:
            data = load_data(source.deepened(self.draw_depth if self.draw_candidates else 0), self.cache_dir)
            found = data.labelled()
            if not any(one.top(source.depth).has_pairs for one in found):
                _log.warning(
                    "%s: none of its %d lists has two grades; this source is not used", source.name, len(found)
                )
            pools += [(source.name, one) for one in found]
            depths += [source.depth] * len(found)
            queries += data.candidates.judged_queries
            without_candidates += len(data.candidates.queries_without_candidates)
        named = distinct_ids(pools)
        lists = tuple(one for pool, depth in zip(named, depths, strict=True) if (one := pool.top(depth)).has_pairs)
        by_id = {pool.item.query.id: pool for pool in named}
        self._loaded = _Loaded(lists, by_id, queries, without_candidates, one_grade=len(named) - len(lists))
        return self._loaded
