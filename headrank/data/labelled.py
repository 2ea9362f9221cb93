"""Labelled lists: a candidate list with its grades, and which of them are trained or validated on.

Plain functions. Everything random here is a pure function of a seed, the epoch and ids, so that a resumed run, and
every process of a distributed one, sees the same. [ours]
"""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from headrank.data.parsing import shown
from headrank.errors import ConfigError
from headrank.ranking import CandidateList, Query, shuffled_indices


@dataclass(frozen=True, slots=True)
class LabelledList:
    """A candidate list, its grades, the grade from which its data set calls a passage relevant, and the context order.

    `grades` (>= 0; unjudged is 0) are in first-stage order, as `item.passages` are. `order[c]` is the candidate at
    context position c.

    Raises `ValueError` if grades or order do not fit the candidates, or the threshold is below 1.
    """

    item: CandidateList
    grades: tuple[int, ...]
    order: tuple[int, ...]
    relevance_threshold: int = 1

    def __post_init__(self) -> None:
        n, query_id = len(self.item), self.item.query.id
        if len(self.grades) != n or min(self.grades, default=0) < 0 or sorted(self.order) != list(range(n)):
            raise ValueError(
                f"query {query_id!r}: grades {self.grades} and order {self.order} for {n} candidates; expected a grade "
                ">= 0 for each, and each candidate's index once"
            )
        if self.relevance_threshold < 1:
            raise ValueError(f"query {query_id!r}: relevance threshold {self.relevance_threshold}; expected 1 or more")

    @property
    def has_pairs(self) -> bool:
        """Whether two candidates differ in grade: without that there is nothing to train on."""
        return len(set(self.grades)) > 1

    @property
    def length(self) -> int:
        """Characters of query and candidates: what lists are sorted by (tokens are not known here)."""
        return len(self.item.query.text) + sum(len(passage.text) for passage in self.item.passages)

    def top(self, depth: int) -> "LabelledList":
        """The list's first `depth` candidates, in first-stage order. Raises `ValueError` below 1."""
        item = self.item.top(depth)
        return replace(self, item=item, grades=self.grades[: len(item)], order=tuple(range(len(item))))


def label(item: CandidateList, judged: Mapping[str, int], relevance_threshold: int = 1) -> LabelledList:
    """The list with its grades, in first-stage order. Grades below 0 and unjudged passages count as 0."""
    grades = tuple(max(0, judged.get(passage_id, 0)) for passage_id in item.passage_ids)
    return LabelledList(item, grades, tuple(range(len(item))), relevance_threshold)


def shuffled(one: LabelledList, key: str) -> LabelledList:
    """The list in the context order that belongs to `key` and its query's text."""
    return replace(one, order=tuple(shuffled_indices(len(one.item), f"{key}:{one.item.query.text}")))


def drawn(one: LabelledList, count: int, key: str) -> LabelledList:
    """`count` of the list's candidates, in first-stage order, that belong to `key` and its query's text.

    A list of two grades or more keeps two: if chance drew a single grade, the first candidate of another grade replaces
    the last one drawn. A list of at most `count` candidates (at least 2) comes back whole.
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
    return replace(one, item=item, grades=tuple(one.grades[i] for i in kept), order=tuple(range(count)))


def distinct_ids(lists: Sequence[tuple[str, LabelledList]]) -> tuple[LabelledList, ...]:
    """Lists of several data sets, as (name of the data set, list), under ids that differ.

    An id that belongs to different queries in different sets (BEIR's are often plain numbers) becomes `<name>:<id>` in
    each of them; other ids stay.

    Raises `ConfigError` if two sets hold the same query (id and text), which could then be trained and validated on,
    and if two ids are still equal under their new names.
    """
    holders: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, one in lists:
        query = one.item.query
        text = " ".join(query.text.split()).casefold()
        for other, other_text in holders[query.id]:
            if text == other_text:
                raise ConfigError(
                    f"data: query {query.id!r} ({shown(query.text)}) is in {other} and in {name}; expected each "
                    "training query once: leave one of the two data sets out"
                )
        holders[query.id].append((name, text))
    named: list[LabelledList] = []
    for name, one in lists:
        query = one.item.query
        if len(holders[query.id]) > 1:
            one = replace(one, item=replace(one.item, query=Query(f"{name}:{query.id}", query.text)))
        named.append(one)
    twice = [query_id for query_id, n in Counter(one.item.query.id for one in named).items() if n > 1]
    if twice:
        raise ConfigError(
            f"data: {len(twice)} query ids, {shown(twice[0])} first, are in several data sets even with the names of "
            "the sets before them; expected other names (data.<set>.name) or other query ids"
        )
    return tuple(named)


def split(
    lists: Sequence[LabelledList], *, validation: int, fraction: float, seed: int
) -> tuple[tuple[LabelledList, ...], tuple[LabelledList, ...]]:
    """Training and validation lists, each in the order given.

    Seed and id alone decide a query's place in line. Validation takes the front of the line, training the requested
    fraction of the rest from its end: for one seed, smaller sets lie inside larger ones, and adding a data set moves no
    query of another past its neighbour. At least one training list remains.

    Raises `ConfigError` if validation would leave nothing to train on.
    """
    if validation >= len(lists):
        raise ConfigError(
            f"alignment.validation_queries is {validation}, and {len(lists)} lists have two grades or more: nothing is "
            f"left to train on; expected fewer than {len(lists)}"
        )
    ids = [one.item.query.id for one in lists]
    line = sorted(range(len(lists)), key=lambda i: (random.Random(f"{seed}:split:{ids[i]}").random(), ids[i]))
    n_training = max(1, round(fraction * (len(lists) - validation)))
    held_out, used = sorted(line[:validation]), sorted(line[len(line) - n_training :])
    return tuple(lists[i] for i in used), tuple(lists[i] for i in held_out)
