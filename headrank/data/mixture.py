"""Draw the training lists of each epoch if a data set contributes a fixed number of them (`lists_per_epoch`).

A draw is a pure function of the seed, the epoch and the order of the lists, so a resumed run and every process of a
distributed run make the same draw. [ours]
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from headrank.data.settings import DataSettings
from headrank.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DataCounts:
    """The numbers of labelled lists of all data sets, by what they are used for.

    Each query has one list. The next five counts add up to `queries`.

    queries: the number of requested queries, which are judged or scored by a teacher.
    lists_without_candidates: empty lists, because the first stage found nothing for the query.
    lists_of_one_grade: lists that are not used because all their candidates have the same grade.
    validation_lists, training_lists: lists that are used.
    lists_left_out: lists that are not used because `query_fraction` is below 1.
    lists_per_epoch: the lists of an epoch: `training_lists`, or fewer or more if a data set has `lists_per_epoch`.
    """

    queries: int
    lists_without_candidates: int
    lists_of_one_grade: int
    validation_lists: int
    training_lists: int
    lists_left_out: int
    lists_per_epoch: int


@dataclass(frozen=True, slots=True)
class Mixture:
    """The training lists of several data sets, and how many of them an epoch contains.

    groups: [data sets], the indices of each data set's training lists.
    counts: [data sets], the number of lists that an epoch contains; None: each list once.
    """

    groups: tuple[tuple[int, ...], ...]
    counts: tuple[int | None, ...]

    @classmethod
    def of(cls, sources: Sequence[DataSettings], origins: Sequence[int]) -> "Mixture":
        """Return the mixture of the data sets' settings.

        Args:
            sources: the data sets.
            origins: [lists], for each training list the index of its data set.

        Raises:
            ConfigError: if a data set with `lists_per_epoch` has no training list.
        """
        groups: list[list[int]] = [[] for _ in sources]
        for i, origin in enumerate(origins):
            groups[origin].append(i)
        for source, group in zip(sources, groups, strict=True):
            if source.lists_per_epoch and not group:
                raise ConfigError(
                    f"data {source.name}: lists_per_epoch is {source.lists_per_epoch}, but {source.collection} has no "
                    "training list with two grades; expected null, or fewer validation queries"
                )
        return cls(tuple(map(tuple, groups)), tuple(source.lists_per_epoch for source in sources))

    @property
    def size(self) -> int:
        """The number of lists of an epoch, repetitions included."""
        return sum(len(g) if n is None else n for g, n in zip(self.groups, self.counts, strict=True))

    def draw(self, seed: int, epoch: int) -> list[int]:
        """Return the lists of an epoch as indices, grouped by data set.

        Of n lists in total, the index `i + r * n` is list i for the r-th further time in this epoch.
        """
        n = sum(map(len, self.groups))
        drawn: list[int] = []
        for group, count in zip(self.groups, self.counts, strict=True):
            if count is None:
                drawn += group
            else:
                drawn += [group[i] + r * n for i, r in draw_lists(len(group), count, seed, epoch)]
        return drawn


def draw_lists(lists: int, count: int, seed: int, epoch: int) -> list[tuple[int, int]]:
    """Draw the lists of one data set for one epoch.

    Consecutive epochs draw without replacement: a new permutation starts only when all lists have been drawn. An epoch
    that ends one permutation and starts the next contains no list twice. If `count` is above `lists`, an epoch contains
    each list `count // lists` times and draws the remaining ones in the same way.

    Args:
        lists: the number of lists of the data set, at least 1.
        count: the number of lists to draw, at least 1.
        seed: the seed of the permutations.
        epoch: the epoch, from 0.

    Returns:
        (index of the list, how often the epoch already contains it) pairs.
    """
    rounds, rest = divmod(count, lists)
    drawn = [(i, r) for r in range(rounds) for i in range(lists)]
    if not rest:
        return drawn
    before: list[int] = []
    order: list[int] = []
    start, end = epoch * rest, (epoch + 1) * rest  # places in the permutations, one after the other
    for k in range((end - 1) // lists + 1):
        before = order
        order = list(range(lists))
        random.Random(f"{seed}:mixture:{k}").shuffle(order)
        shared = k * lists % rest  # lists of the permutation before in the epoch that begins this one
        held = set(before[lists - shared :]) if before else set()
        order.sort(key=lambda i, held=held: i in held)  # stable: these come last
    first = (end - 1) // lists * lists
    places = before[start - first :] + order[: end - first] if start < first else order[start - first : end - first]
    return drawn + [(i, rounds) for i in places]
