"""Assign labelled lists to the batches of each process and epoch, without Lightning.

`datamodule.py` loads the lists and passes them to `ListBatches`. Random choices are pure functions of a seed, the epoch
and query ids, so a resumed run and every process of a distributed run make the same choices. [ours]
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from headrank.data.labelled import LabelledList, usable_lists
from headrank.errors import ConfigError

_BUCKET = 8  # steps per length-sorted bucket: lists in a step have similar lengths, and steps differ between epochs


class ListBatch:
    """The labelled lists of one forward pass in one process, and the weight of each list's loss.

    lists: the labelled lists.
    weight: the factor of each list's loss. None: 1 / the number of lists with two different grades, so that the sum
        is their mean. 0: the batch has no effect on training; this process only runs as many passes as the others.

    This is neither a list nor a dataclass: Lightning moves and casts the contents of those, and fails on frozen ones.
    """

    __slots__ = ("lists", "weight")

    def __init__(self, lists: Iterable[LabelledList], weight: float | None = None) -> None:
        self.lists = tuple(lists)
        self.weight = 1 / max(1, len(usable_lists(self.lists))) if weight is None else weight

    def __len__(self) -> int:
        return len(self.lists)

    def __iter__(self) -> Iterator[LabelledList]:
        return iter(self.lists)

    def __getitem__(self, index: int) -> LabelledList:
        return self.lists[index]

    def __repr__(self) -> str:
        return f"ListBatch({', '.join(x.item.query.id for x in self.lists)})"


@dataclass(frozen=True, slots=True)
class Shard:
    """The epoch (from 0), the rank and the number of processes, which determine one process's share of the lists."""

    epoch: int = 0
    rank: int = 0
    world_size: int = 1


def training_batches(
    lengths: Sequence[int], lists_per_batch: int, seed: int, shard: Shard, *, lists_per_step: int = 0
) -> list[list[int]]:
    """Assign the labelled lists of one training epoch to the batches of one process.

    A step is the set of lists of one optimizer step, over all processes. Lists are shuffled, sorted by length within
    buckets of several steps, and cut into steps. The steps are shuffled again; an incomplete step stays last. With
    `lists_per_step` set, a step contains the same lists for any batch size and any number of processes. An epoch
    contains every list once. All processes get the same number of batches; if fewer lists than processes remain, some
    processes get an empty batch.

    Args:
        lengths: the length of each list in characters, at least one.
        lists_per_batch: lists per forward pass and process.
        seed: the seed of the shuffles.
        shard: the epoch, the process's rank and the number of processes.
        lists_per_step: lists per optimizer step, over all processes; 0: one batch per process.

    Returns:
        The batches, as indices into `lengths`.

    Raises:
        ConfigError: if `lists_per_step` is not a multiple of `lists_per_batch` times the number of processes.
    """
    batch = lists_per_batch * shard.world_size
    step = lists_per_step or batch
    if step % batch:
        raise ConfigError(
            f"alignment.lists_per_step is {step}; expected a multiple of lists_per_batch ({lists_per_batch}) times "
            f"{shard.world_size} processes"
        )
    generator = random.Random(f"{seed}:lists:{shard.epoch}")
    shuffled = list(range(len(lengths)))
    generator.shuffle(shuffled)
    steps: list[list[int]] = []
    for start in range(0, len(shuffled), _BUCKET * step):
        bucket = sorted(shuffled[start : start + _BUCKET * step], key=lambda i: lengths[i])
        steps += [bucket[i : i + step] for i in range(0, len(bucket), step)]
    short = [steps.pop()] if len(steps[-1]) < step else []
    generator.shuffle(steps)
    batches = [lists[i : i + batch] for lists in steps + short for i in range(0, len(lists), batch)]
    # processes get lists of similar length, so they finish at about the same time
    return [lists[shard.rank :: shard.world_size] for lists in batches]


def validation_batches(lengths: Sequence[int], lists_per_batch: int, shard: Shard) -> list[list[int]]:
    """Assign the labelled lists for validation to the batches of one process, sorted by length.

    Every epoch has the same batches.

    Every list is read once, by one process. All processes get the same number of batches, because collective operations
    would hang otherwise; some batches therefore contain `lists_per_batch + 1` lists.

    Args:
        lengths: the length of each list in characters.
        lists_per_batch: lists per forward pass and process.
        shard: the process's rank and the number of processes; the epoch has no effect.

    Returns:
        The batches, as indices into `lengths`.

    Raises:
        ConfigError: if the number of lists is below the number of processes.
    """
    rank, world_size = shard.rank, shard.world_size
    if len(lengths) < world_size:
        raise ConfigError(
            f"{len(lengths)} validation lists for {world_size} processes; expected 0 or at least one for each process"
        )
    indices = sorted(range(len(lengths)), key=lambda i: lengths[i])[rank::world_size]
    count = math.ceil(len(lengths) // world_size / lists_per_batch)
    return [indices[i * len(indices) // count : (i + 1) * len(indices) // count] for i in range(count)]


def check_shares(training: int, validation: int, world_size: int) -> None:
    """Raise `ConfigError` if there are too few labelled lists for `world_size` processes.

    training, validation: the numbers of lists. Each process needs one training list, and one validation list if there
    are any.
    """
    if training < world_size or 0 < validation < world_size:
        raise ConfigError(
            f"{training} training and {validation} validation lists for {world_size} processes; expected at least one "
            "of each for every process, or no validation: use fewer processes or more queries"
        )


class ListBatches:
    """The loader that `train_dataloader` and `val_dataloader` return. It yields one process's batches of each epoch.

    It is not a torch `DataLoader`: all lists are in memory, so workers would only copy them, and Lightning would add a
    `DistributedSampler`, which repeats validation queries. `Trainer(use_distributed_sampler=...)` has no effect on it.

    Args:
        lists: the labelled lists.
        plan: maps (the lists' lengths in characters, shard) to the batches, as indices into `lists`. Of n lists, the
            index i + r * n is list i for the r-th further time in this epoch. For an empty batch the shortest list is
            yielded with weight 0, as all processes must run equally many forward passes.
        read: maps (list, shard, r) to the list in the context order of this epoch.
        shard: returns the current shard. It is called when the first batch is requested, because Lightning calls `iter`
            before it restores the epoch.
        weight: the `weight` of each `ListBatch`.

    The state holds the number of batches yielded, so a run resumed within an epoch continues with the next batch.
    Iteration raises `ValueError` if such a run has another number of processes.
    """

    def __init__(
        self,
        lists: Sequence[LabelledList],
        *,
        plan: Callable[[Sequence[int], Shard], list[list[int]]],
        read: Callable[[LabelledList, Shard, int], LabelledList],
        shard: Callable[[], Shard],
        weight: float | None = None,
    ) -> None:
        self._lists = lists
        self._lengths = [labelled.length for labelled in lists]
        self._plan = plan
        self._read = read
        self._shard = shard
        self._weight = weight
        self._state: dict[str, Any] = {}
        self._resumed: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._plan(self._lengths, self._shard()))

    def __iter__(self) -> Iterator[ListBatch]:
        shard = self._shard()
        plan = self._plan(self._lengths, shard)
        resumed, self._resumed = self._resumed, {}
        done = resumed["batches"] if resumed.get("epoch") == shard.epoch else 0
        if 0 < done < len(plan) and resumed["ranks"] != shard.world_size:
            raise ValueError(
                f"the checkpoint was written within epoch {shard.epoch} by {resumed['ranks']} processes, this run has "
                f"{shard.world_size}; expected the same number, or a checkpoint from the end of an epoch"
            )
        for i, batch in enumerate(plan[done:], done + 1):
            self._state = {"epoch": shard.epoch, "batches": i, "ranks": shard.world_size}
            if batch:
                places = (divmod(k, len(self._lists)) for k in batch)
                yield ListBatch((self._read(self._lists[i], shard, r) for r, i in places), self._weight)
            else:
                shortest = min(range(len(self._lists)), key=lambda k: self._lengths[k])
                yield ListBatch([self._read(self._lists[shortest], shard, 0)], 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch, the number of batches yielded in it and the number of processes, by name.

        The dict is empty before the first batch.
        """
        return dict(self._state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state: the next iteration skips the batches already yielded, if it is over the same epoch."""
        self._resumed = dict(state_dict)
