"""Labelled lists, and which of them a process trains or validates on, in what order: plain functions, no Lightning.

`datamodule.py` loads the lists and hands them out through `Batches`. Everything random here is a pure function of a
seed, the epoch and ids, so that a resumed run, and every process of a distributed one, sees the same. [ours]
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headrank.ranking import CandidateList, Qrels, Query, shuffled_indices

_BUCKET = 8  # batches whose lists are sorted by length together: alike in a batch, but never twice the same company


@dataclass(frozen=True, slots=True)
class LabelledList:
    """A candidate list, its grades, and the order in which the model reads it.

    `grades` (>= 0; unjudged is 0) are in first-stage order, as `item.passages` are. `order[c]` is the candidate at
    context position c.

    Raises `ValueError` where grades or order do not fit the candidates.
    """

    item: CandidateList
    grades: tuple[int, ...]
    order: tuple[int, ...]

    def __post_init__(self) -> None:
        n = len(self.item)
        if len(self.grades) != n or min(self.grades, default=0) < 0 or sorted(self.order) != list(range(n)):
            raise ValueError(
                f"query {self.item.query.id!r}: grades {self.grades} and order {self.order} for {n} candidates; wanted "
                "a grade >= 0 for each, and each candidate's index once"
            )

    @property
    def has_pairs(self) -> bool:
        """Whether two candidates differ in grade: without that there is nothing to train on."""
        return len(set(self.grades)) > 1

    @property
    def length(self) -> int:
        """Characters of query and candidates: what lists are sorted by (tokens are not known here)."""
        return len(self.item.query.text) + sum(len(passage.text) for passage in self.item.passages)


class Batch:
    """The lists of one step, as a whole: Lightning walks into lists and dataclasses to move or cast what is in them,
    and fails on frozen ones; what it does not know it leaves alone."""

    __slots__ = ("lists",)

    def __init__(self, lists: Iterable[LabelledList]) -> None:
        self.lists = tuple(lists)

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
    """Which epoch it is, and which of how many processes asks."""

    epoch: int = 0
    rank: int = 0
    ranks: int = 1


def label(item: CandidateList, judged: Mapping[str, int]) -> LabelledList:
    """The list with its grades, in first-stage order. Grades below 0 and unjudged passages count as 0."""
    grades = tuple(max(0, judged.get(passage_id, 0)) for passage_id in item.passage_ids)
    return LabelledList(item, grades, tuple(range(len(item))))


def usable_lists(items: Sequence[CandidateList], qrels: Qrels) -> list[LabelledList]:
    """The labelled lists among these that can be trained on: with candidates of two grades or more."""
    return [one for one in (label(item, qrels[item.query.id]) for item in items) if one.has_pairs]


def shuffled(one: LabelledList, key: str) -> LabelledList:
    """The list in the context order that belongs to `key` and its query's text."""
    return replace(one, order=tuple(shuffled_indices(len(one.item), f"{key}:{one.item.query.text}")))


def drawn(one: LabelledList, count: int, key: str) -> LabelledList:
    """`count` of the list's candidates, in first-stage order, that belong to `key` and its query's text.

    A list of two grades or more keeps two: where chance drew a single one, the last drawn gives its place to the first
    of another. The list itself where it has no more than `count` (at least 2).
    """
    if len(one.item) <= count:
        return one
    line = shuffled_indices(len(one.item), f"{key}:draw:{one.item.query.text}")
    if len({one.grades[i] for i in line[:count]}) == 1:
        other = next((i for i in line[count:] if one.grades[i] != one.grades[line[0]]), line[count - 1])
        line[count - 1] = other
    kept = sorted(line[:count])
    scores = one.item.first_stage_scores
    item = replace(
        one.item,
        passages=tuple(one.item.passages[i] for i in kept),
        first_stage_scores=None if scores is None else tuple(scores[i] for i in kept),
    )
    return LabelledList(item, tuple(one.grades[i] for i in kept), tuple(range(count)))


def distinct_ids(lists: Sequence[tuple[str, LabelledList]]) -> tuple[LabelledList, ...]:
    """Lists of several collections, as (collection, list), under ids that differ.

    An id that stands for different queries in different collections (BEIR's are often plain numbers) becomes
    `<collection>:<id>` in each of them; other ids stay.

    Raises `ValueError` where an id comes twice with the same text: one query, which could be trained and validated on.
    """
    holders: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for collection, one in lists:
        query = one.item.query
        text = " ".join(query.text.split()).casefold()
        for other, other_text in holders[query.id]:
            if text == other_text:
                raise ValueError(
                    f"query {query.id!r} ({query.text[:80]!r}) stands in {other} and in {collection}; wanted each "
                    "training query once: leave one of the two sources out"
                )
        holders[query.id].append((collection, text))
    named: list[LabelledList] = []
    for collection, one in lists:
        query = one.item.query
        if len(holders[query.id]) > 1:
            one = replace(one, item=replace(one.item, query=Query(f"{collection}:{query.id}", query.text)))
        named.append(one)
    return tuple(named)


def split(
    lists: Sequence[LabelledList], *, validation: int, fraction: float, seed: int
) -> tuple[tuple[LabelledList, ...], tuple[LabelledList, ...]]:
    """Training and validation lists, each in the order given.

    Queries have a place in line that depends on seed and id alone. Validation is taken from its front, the wanted
    fraction of the rest from its end: for one seed, smaller sets lie inside larger ones, and adding a source moves no
    query of another past its neighbour. At least one training list remains.

    Raises `ValueError` where validation would leave nothing to train on.
    """
    if validation >= len(lists):
        raise ValueError(
            f"validation_queries {validation} of {len(lists)} lists with two grades or more: nothing is left to train "
            f"on; wanted fewer than {len(lists)}"
        )
    ids = [one.item.query.id for one in lists]
    line = sorted(range(len(lists)), key=lambda i: (random.Random(f"{seed}:split:{ids[i]}").random(), ids[i]))
    wanted = max(1, round(fraction * (len(lists) - validation)))
    held_out, used = sorted(line[:validation]), sorted(line[len(line) - wanted :])
    return tuple(lists[i] for i in used), tuple(lists[i] for i in held_out)


def training_batches(
    lengths: Sequence[int], lists_per_batch: int, seed: int, place: Place, *, lists_per_step: int = 0
) -> list[list[int]]:
    """The batches of one process and epoch, as indices into `lengths` (>= 1 of them).

    The epoch's order is shuffled, then sorted by length within buckets of several steps and cut into steps of
    `lists_per_step`, all processes together (0: a batch of `lists_per_batch` in each); the steps are shuffled again,
    a shorter one stays last. A step holds the same lists however many batches and processes share it. All processes
    make the same number of batches, and of the same size. To that end up to `ranks - 1` lists come twice in an epoch;
    none is left out.

    Raises `ValueError` where a step is not a multiple of a batch in each process.
    """
    together = lists_per_batch * place.ranks
    step = lists_per_step or together
    if step % together:
        raise ValueError(
            f"lists_per_step {step}: wanted a multiple of {lists_per_batch} lists a batch times {place.ranks} processes"
        )
    chance = random.Random(f"{seed}:lists:{place.epoch}")
    line = list(range(len(lengths)))
    chance.shuffle(line)
    line = [line[i % len(line)] for i in range(math.ceil(len(line) / place.ranks) * place.ranks)]
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

    Raises `ValueError` where there are fewer lists than processes.
    """
    if len(lengths) < place.ranks:
        raise ValueError(f"{len(lengths)} validation lists for {place.ranks} processes; wanted 0, or one for each")
    own = sorted(range(len(lengths)), key=lambda i: lengths[i])[place.rank :: place.ranks]
    count = math.ceil(len(lengths) // place.ranks / lists_per_batch)
    return [own[i * len(own) // count : (i + 1) * len(own) // count] for i in range(count)]


def check_shares(training: int, validation: int, ranks: int) -> None:
    """Raise `ValueError` unless each process has a training list, and a validation list where there is any."""
    if training < ranks or 0 < validation < ranks:
        raise ValueError(
            f"{training} training and {validation} validation lists for {ranks} processes; wanted at least one of each "
            "for every process, or no validation: use fewer processes or more queries"
        )


class Batches:
    """What a `train_dataloader` or `val_dataloader` gives: one process's batches, made anew for each pass.

    Not a torch `DataLoader`: all lists are in memory, so workers would only copy them, and Lightning puts its own
    `DistributedSampler` into torch's loaders, which would repeat validation queries. As it leaves other iterables
    alone, `Trainer(use_distributed_sampler=...)` makes no difference.

    plan: place -> batches of indices into `lists`. read: (list, place) -> the list in its context order.
    place: asked when a pass yields its first batch, since Lightning calls `iter` before it restores the epoch.

    The state says how far the pass has come, so that a run resumed within an epoch goes on with the next batch.
    """

    def __init__(
        self,
        lists: Sequence[LabelledList],
        *,
        plan: Callable[[Sequence[int], Place], list[list[int]]],
        read: Callable[[LabelledList, Place], LabelledList],
        place: Callable[[], Place],
    ) -> None:
        self._lists = lists
        self._lengths = [one.length for one in lists]
        self._plan = plan
        self._read = read
        self._place = place
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
                f"{place.ranks}; wanted as many, or a checkpoint from the end of an epoch"
            )
        for i, batch in enumerate(plan[done:], done + 1):
            self._state = {"epoch": place.epoch, "batches": i, "ranks": place.ranks}
            yield Batch(self._read(self._lists[k], place) for k in batch)

    def state_dict(self) -> dict[str, Any]:
        """Epoch, batches given out in it, and number of processes; empty before the first."""
        return dict(self._state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next pass, if it is of the same epoch, begin after the batches given out."""
        self._resumed = dict(state_dict)
