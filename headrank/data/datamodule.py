"""Define a Lightning data module with the training data of alignment: batches of labelled candidate lists.

    data = ListwiseDataModule([DataSettings("dl21", "msmarco-passage-v2/trec-dl-2021/judged"), ...])
    trainer.fit(module, datamodule=data)

A `ListBatch` contains texts and plain numbers; the model converts them to tensors. `batches.py` assigns lists to
batches and processes. This module needs the extra `train`, so `headrank.data` does not import it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule

from headrank.data.batches import ListBatch, ListBatches, Shard, check_shares, training_batches, validation_batches
from headrank.data.labelled import (
    LabelledList,
    distinct_ids,
    sample_candidates,
    shuffle_context,
    split,
    split_fold,
    usable_lists,
)
from headrank.data.loader import load_data
from headrank.data.mixture import DataCounts, Mixture
from headrank.data.settings import DataSettings, unjudged_ids
from headrank.logs import counts_text

__all__ = ["DataCounts", "LabelledList", "ListBatch", "ListBatches", "ListwiseDataModule"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Loaded:
    lists: tuple[LabelledList, ...]  # with two grades or more
    pools: Mapping[str, LabelledList]  # query id -> the list from which candidates are sampled
    origins: Mapping[str, int]  # query id -> the index of its data set
    queries: int
    without_candidates: int
    one_grade: int


class ListwiseDataModule(LightningDataModule):
    """Labelled lists of several data sets, split by query into training and validation lists.

    The trainer determines the epoch, the rank and the number of processes. Without a trainer, the epoch is 0, and
    torch.distributed determines the other two if it is initialised.

    Args:
        sources: the data sets, at least one. `distinct_ids` renames repeated query ids. An epoch contains
            `lists_per_epoch` of a data set's training lists (`Mixture`); None: each once.
        validation_queries: the number of held-out queries, among those whose lists have two different grades;
            generated queries only if there are too few others; 0: no validation.
        lists_per_batch: lists per forward pass and process.
        lists_per_step: lists per optimizer step, over all processes; 0: one batch per process.
        shuffle_candidates: True: the context order of each training list is shuffled anew in each epoch, and validation
            lists have the fixed orders of `Order.SHUFFLED` with this seed. False: the first-stage order.
        relevant_in_zone: the share of the shuffled training lists, drawn anew in each epoch, whose candidates of the
            highest grade are moved to the middle of the context.
        draw_candidates: the number of candidates sampled from each training list, anew in each epoch (see
            `sample_candidates`); 0: all. A sample is never larger than the list at its data set's depth. Validation
            lists are not sampled.
        draw_depth: sample from the top `draw_depth` of the first stage if that is deeper than the data set's depth.
            Validation lists and `training_lists` keep the data set's depth, and a query is used only if its list has
            two grades within that depth.
        query_fraction: the share of the training queries that is used, in (0, 1]; smaller shares are subsets of larger
            ones.
        fold: (fold from 0, number of folds): this fold is the validation, in place of `validation_queries`; see
            `split_fold`. None: no folds.
        seed: the seed of the split and the orders.
        cache_dir: the folder of BM25 indexes; None: the user's cache folder.

    Raises:
        ValueError: if an argument is out of range. `setup` also raises it if no list has two different grades, and its
            subclass `ConfigError` if no list is left to train on, a process would get no list, or a data set with
            `lists_per_epoch` has no training list.
        HeadRankError: from `prepare_data` and `setup`, if a data set cannot be loaded.
    """

    def __init__(
        self,
        sources: Sequence[DataSettings],
        *,
        validation_queries: int = 10,
        lists_per_batch: int = 1,
        lists_per_step: int = 0,
        shuffle_candidates: bool = True,
        relevant_in_zone: float = 0.0,
        draw_candidates: int = 0,
        draw_depth: int = 0,
        query_fraction: float = 1.0,
        fold: tuple[int, int] | None = None,
        seed: int = 0,
        cache_dir: Path | None = None,
    ) -> None:
        super().__init__()
        if not sources:
            raise ValueError("sources is empty; expected at least one labelled data set")
        if validation_queries < 0:
            raise ValueError(f"validation_queries {validation_queries}: expected 0 or more")
        if lists_per_batch < 1:
            raise ValueError(f"lists_per_batch {lists_per_batch}: expected 1 or more")
        if lists_per_step < 0:
            raise ValueError(f"lists_per_step {lists_per_step}: expected 0 (one batch per process) or more")
        if draw_candidates and draw_candidates < 2:
            raise ValueError(f"draw_candidates {draw_candidates}: expected 0 (all) or at least 2")
        if draw_depth < 0:
            raise ValueError(f"draw_depth {draw_depth}: expected 0 or more")
        if not 0 <= relevant_in_zone <= 1:
            raise ValueError(f"relevant_in_zone {relevant_in_zone}: expected a number in [0, 1]")
        if not 0 < query_fraction <= 1:
            raise ValueError(f"query_fraction {query_fraction}: expected a number in (0, 1]; 1 uses all queries")
        self.sources = tuple(sources)
        self.validation_queries = validation_queries
        self.lists_per_batch, self.lists_per_step = lists_per_batch, lists_per_step
        self.shuffle_candidates, self.draw_candidates, self.draw_depth = shuffle_candidates, draw_candidates, draw_depth
        self.relevant_in_zone = relevant_in_zone
        self.query_fraction, self.fold = query_fraction, fold
        self.seed = seed
        self.cache_dir = cache_dir
        self._loaded: _Loaded | None = None
        self._split: tuple[tuple[LabelledList, ...], tuple[LabelledList, ...], DataCounts] | None = None
        self._mixture = Mixture((), ())

    def prepare_data(self) -> None:
        """Load all data in one process, so that downloads, passage stores and BM25 indexes exist before `setup`."""
        self._load()

    def setup(self, stage: str | None = None) -> None:
        """Load the lists and split them. Later calls do nothing; `stage` has no effect."""
        if self._split is not None:
            return
        loaded = self._load()
        if not loaded.lists:
            raise ValueError(
                "expected lists with candidates of two different grades, found none in "
                f"{', '.join(s.collection for s in self.sources)}: of {loaded.queries} queries, {loaded.one_grade} "
                f"lists have one grade only and {loaded.without_candidates} have no candidates (negative grades and "
                "unjudged passages count as 0). Check that run and judgements belong to this collection, or increase "
                "the depth"
            )
        unjudged = unjudged_ids(loaded.origins, self.sources)
        share = {"fraction": self.query_fraction, "seed": self.seed, "unjudged": unjudged}
        if self.fold is None:
            training, validation = split(loaded.lists, validation=self.validation_queries, **share)
        else:
            training, validation = split_fold(loaded.lists, fold=self.fold[0], folds=self.fold[1], **share)
        self._mixture = Mixture.of(self.sources, [loaded.origins[one.item.query.id] for one in training])
        check_shares(self._mixture.size, len(validation), self._shard().world_size)
        counts = DataCounts(
            queries=loaded.queries,
            lists_without_candidates=loaded.without_candidates,
            lists_of_one_grade=loaded.one_grade,
            validation_lists=len(validation),
            training_lists=len(training),
            lists_left_out=len(loaded.lists) - len(validation) - len(training),
            lists_per_epoch=self._mixture.size,
        )
        _log.info(
            "alignment data: %d queries, %d training and %d validation lists%s",
            *(counts.queries, counts.training_lists, counts.validation_lists),
            counts_text(
                (counts.lists_per_epoch * (self._mixture.size != len(training)), "lists per epoch"),
                (sum(one.teacher is not None for one in (*training, *validation)), "lists with a teacher's scores"),
                (counts.lists_left_out, "lists not used because of query_fraction"),
                (counts.lists_of_one_grade, "lists of a single grade not used"),
                (counts.lists_without_candidates, "queries without candidates"),
            ),
        )
        self._split = (training, validation, counts)

    @property
    def training_lists(self) -> tuple[LabelledList, ...]:
        """The training lists, grouped by data set, with candidates in first-stage order. Heads are reselected on them.

        Raises `RuntimeError` before `setup`.
        """
        return self._ready()[0]

    @property
    def validation_lists(self) -> tuple[LabelledList, ...]:
        """The validation lists in the same form as `training_lists`; empty without validation queries."""
        return self._ready()[1]

    @property
    def counts(self) -> DataCounts:
        """The numbers of lists that are used for training, for validation, or not at all, see `DataCounts`.

        Raises `RuntimeError` before `setup`.
        """
        return self._ready()[2]

    def train_dataloader(self) -> ListBatches:
        """Return the loader of this process's training batches.

        The order of lists and candidates changes with the epoch. `Mixture` draws the epoch's lists, `training_batches`
        assigns them to processes and batches. Every list has the same weight in its optimizer step. With the same
        `lists_per_step` above 0, a step holds the same lists for any number of processes.
        """
        return ListBatches(
            self.training_lists,
            plan=self._training_plan,
            read=self._read_training,
            shard=self._shard,
            weight=1 / self.lists_per_batch,  # also in an incomplete batch: all lists of an epoch have equal weight
        )

    def val_dataloader(self) -> ListBatches | list[ListBatches]:
        """Return the loader of this process's validation batches (`validation_batches`), in fixed context orders.

        Without validation queries this is an empty list. Lightning then skips validation, with a warning unless
        `Trainer(limit_val_batches=0)` is set.
        """
        if not self.validation_lists:
            return []
        return ListBatches(
            self.validation_lists,
            plan=lambda lengths, shard: validation_batches(lengths, self.lists_per_batch, shard),
            read=lambda labelled, shard, again: self._ordered(labelled, f"{self.seed}"),
            shard=self._shard,
        )

    def _training_plan(self, lengths: Sequence[int], shard: Shard) -> list[list[int]]:
        drawn = self._mixture.draw(self.seed, shard.epoch)
        batches = training_batches(
            [lengths[i % len(lengths)] for i in drawn],
            *(self.lists_per_batch, self.seed, shard),
            lists_per_step=self.lists_per_step,
        )
        return [[drawn[i] for i in batch] for batch in batches]

    def _read_training(self, labelled: LabelledList, shard: Shard, again: int) -> LabelledList:
        key = f"{self.seed}:{shard.epoch}" + (f":{again}" if again else "")
        if self.draw_candidates:
            pool = self._load().pools[labelled.item.query.id]
            labelled = sample_candidates(pool, min(self.draw_candidates, len(labelled.item)), key)
        return self._ordered(labelled, key, self.relevant_in_zone)

    def _ordered(self, labelled: LabelledList, key: str, in_zone: float = 0.0) -> LabelledList:
        return shuffle_context(labelled, key, in_zone) if self.shuffle_candidates else labelled

    def _shard(self) -> Shard:
        if self.trainer is not None:
            return Shard(self.trainer.current_epoch, self.trainer.global_rank, self.trainer.world_size)
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return Shard(0, distributed.get_rank(), distributed.get_world_size())
        return Shard()

    def _ready(self) -> tuple[tuple[LabelledList, ...], tuple[LabelledList, ...], DataCounts]:
        if self._split is None:
            raise RuntimeError("the data is not loaded; call prepare_data() and setup() first (a Trainer does)")
        return self._split

    def _load(self) -> _Loaded:
        """The labelled lists of every data set. They are cached: `prepare_data` and `setup` load them once."""
        if self._loaded is not None:
            return self._loaded
        pools: list[tuple[str, LabelledList]] = []
        depths: list[int] = []
        origin: list[int] = []
        queries = without_candidates = 0
        for i, source in enumerate(self.sources):
            data = load_data(source.with_min_depth(self.draw_depth if self.draw_candidates else 0), self.cache_dir)
            labelled = data.labelled()
            if not usable_lists(x.top(source.depth) for x in labelled):
                _log.warning(
                    "%s: none of its %d lists has two grades; this data set is not used", source.name, len(labelled)
                )
            pools += [(source.name, x) for x in labelled]
            depths += [source.depth] * len(labelled)
            origin += [i] * len(labelled)
            queries += data.candidates.judged_queries
            without_candidates += len(data.candidates.queries_without_candidates)
        named = distinct_ids(pools)
        lists = tuple(usable_lists(pool.top(depth) for pool, depth in zip(named, depths, strict=True)))
        by_id = {pool.item.query.id: pool for pool in named}
        origins = dict(zip(by_id, origin, strict=True))
        self._loaded = _Loaded(lists, by_id, origins, queries, without_candidates, one_grade=len(named) - len(lists))
        return self._loaded
