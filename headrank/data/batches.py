"""Batches of labelled lists: which lists a process trains or validates on, in what order. No Lightning in here.

`datamodule.py` loads the lists and hands them out through `Batches`. Everything random here is a pure function of a
seed, the epoch and ids, so that a resumed run, and every process of a distributed one, sees the same. [ours]
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from headrank.data.labelled import LabelledList
from headrank.errors import ConfigError

_BUCKET = 8  # batches per length-sorted bucket: similar lengths in a batch, but other batches each epoch


class Batch:
    """The lists that one process reads in one pass, and what each list's loss is multiplied by.

    weight: None for the mean over the lists with two grades or more; 0 for a batch that only keeps this process in step
        with the others. Neither a list nor a dataclass: Lightning walks into those to move or cast what they hold, and
        fails on frozen ones.
    """

    __slots__ = ("lists", "weight")

    def __init__(self, lists: Iterable[LabelledList], weight: float | None = None) -> None:
        self.lists = tuple(lists)
        self.weight = 1 / max(1, sum(one.has_pairs for one in self.lists)) if weight is None else weight

    def __len__(self) -> int:
        return len(self.lists)

    def __iter__(self) -> Iterator[LabelledList]:
        return iter(self.lists)

    def __getitem__(self, index: int) -> LabelledList:
        return self.lists[index]

    def __repr__(self) -> str:
        return f"Batch({', '.join(one.item.query.id for one in self.lists)})"


@dataclass(frozen=True, slots=True)
class Place:
    """An epoch, and a process: its rank among `ranks`."""

    epoch: int = 0
    rank: int = 0
    ranks: int = 1


def training_batches(
    lengths: Sequence[int], lists_per_batch: int, seed: int, place: Place, *, lists_per_step: int = 0
) -> list[list[int]]:
    """The batches of one process and epoch, as indices into `lengths` (>= 1 of them).

    The epoch's order is shuffled, then sorted by length within buckets of several steps and cut into steps of
    `lists_per_step`, all processes together (0: a batch of `lists_per_batch` in each); the steps are shuffled again,
    a shorter one stays last. A step holds the same lists however many batches and processes share it, and every list
    comes once in an epoch. All processes make the same number of batches; if the last lists are fewer than the
    processes, the batch of some is empty.

    Raises `ConfigError` if a step is not a multiple of a batch in each process.
    """
    together = lists_per_batch * place.ranks
    step = lists_per_step or together
    if step % together:
        raise ConfigError(
            f"alignment.lists_per_step is {step}; expected a multiple of lists_per_batch ({lists_per_batch}) times "
            f"{place.ranks} processes"
        )
    chance = random.Random(f"{seed}:lists:{place.epoch}")
    line = list(range(len(lengths)))
    chance.shuffle(line)
    steps: list[list[int]] = []
    for start in range(0, len(line), _BUCKET * step):
        bucket = sorted(line[start : start + _BUCKET * step], key=lambda i: lengths[i])
        steps += [bucket[i : i + step] for i in range(0, len(bucket), step)]
    short = [steps.pop()] if len(steps[-1]) < step else []
    chance.shuffle(steps)
    batches = [lists[i : i + together] for lists in steps + short for i in range(0, len(lists), together)]
    return [lists[place.rank :: place.ranks] for lists in batches]  # neighbours in length: processes finish together


def validation_batches(lengths: Sequence[int], lists_per_batch: int, place: Place) -> list[list[int]]:
    """The validation batches of one process, as indices into `lengths`: sorted by length, the same in every epoch.

    Every list comes once in one process. All processes make the same number of batches (with a different number,
    collective operations would wait for ever), so that some hold `lists_per_batch + 1` lists.

    Raises `ConfigError` if there are fewer lists than processes.
    """
    if len(lengths) < place.ranks:
        raise ConfigError(f"{len(lengths)} validation lists for {place.ranks} processes; expected 0, or one for each")
    own = sorted(range(len(lengths)), key=lambda i: lengths[i])[place.rank :: place.ranks]
    count = math.ceil(len(lengths) // place.ranks / lists_per_batch)
    return [own[i * len(own) // count : (i + 1) * len(own) // count] for i in range(count)]


def check_shares(training: int, validation: int, ranks: int) -> None:
    """Raise `ConfigError` unless each process has a training list, and a validation list if there is any."""
    if training < ranks or 0 < validation < ranks:
        raise ConfigError(
            f"{training} training and {validation} validation lists for {ranks} processes; expected at least one of "
            "each for every process, or no validation: use fewer processes or more queries"
        )


class Batches:
    """What `train_dataloader` and `val_dataloader` return: one process's batches, rebuilt for each pass.

    Not a torch `DataLoader`: all lists are in memory, so workers would only copy them, and Lightning puts its own
    `DistributedSampler` into torch's loaders, which would repeat validation queries. As it leaves other iterables
    alone, `Trainer(use_distributed_sampler=...)` makes no difference.

    plan: place -> batches of indices into `lists`; for an empty one the process reads the shortest list at weight 0,
        since all processes have to make the same passes. read: (list, place) -> the list in its context order.
    place: called when a pass yields its first batch, since Lightning calls `iter` before it restores the epoch.
    weight: of each list in its batch, see `Batch`.

    The state holds how far the pass has come, so that a run resumed within an epoch continues with the next batch.
    """

    def __init__(
        self,
        lists: Sequence[LabelledList],
        *,
        plan: Callable[[Sequence[int], Place], list[list[int]]],
        read: Callable[[LabelledList, Place], LabelledList],
        place: Callable[[], Place],
        weight: float | None = None,
    ) -> None:
        self._lists = lists
        self._lengths = [one.length for one in lists]
        self._plan = plan
        self._read = read
        self._place = place
        self._weight = weight
        self._state: dict[str, Any] = {}
        self._resumed: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._plan(self._lengths, self._place()))

    def __iter__(self) -> Iterator[Batch]:
        place = self._place()
        plan = self._plan(self._lengths, place)
        resumed, self._resumed = self._resumed, {}
        done = resumed["batches"] if resumed.get("epoch") == place.epoch else 0
        if 0 < done < len(plan) and resumed["ranks"] != place.ranks:
            raise ValueError(
                f"the checkpoint was written within epoch {place.epoch} by {resumed['ranks']} processes, and these are "
                f"{place.ranks}; expected the same number, or a checkpoint from the end of an epoch"
            )
        for i, batch in enumerate(plan[done:], done + 1):
            self._state = {"epoch": place.epoch, "batches": i, "ranks": place.ranks}
            if batch:
                yield Batch((self._read(self._lists[k], place) for k in batch), self._weight)
            else:
                shortest = min(range(len(self._lists)), key=lambda k: self._lengths[k])
                yield Batch([self._read(self._lists[shortest], place)], 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Epoch, batches given out in it, and number of processes; empty before the first."""
        return dict(self._state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next pass, if it is of the same epoch, begin after the batches given out."""
        self._resumed = dict(state_dict)
