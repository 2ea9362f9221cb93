"""Add grades to candidate lists, and split them into training and validation lists.

Random choices are pure functions of a seed, the epoch and query ids, so a resumed run and every process of a
distributed run make the same choices. [ours]
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from headrank.data.parsing import shown
from headrank.errors import ConfigError
from headrank.ranking import CandidateList, Query, middle_zone, shuffled_indices, shuffled_order


@dataclass(frozen=True, slots=True)
class LabelledList:
    """A candidate list with its relevance grades.

    item: the candidates, in first-stage order.
    grades: [docs], one grade >= 0 per candidate, in first-stage order; unjudged candidates have grade 0.
    order: [docs], `order[c]` is the index of the candidate at context position c.
    relevance_threshold: the lowest grade that the data set counts as relevant.
    teacher: [docs], one finite score per candidate, in first-stage order: targets of distillation (`teacher.py`); None:
        the list has no teacher.

    Raises `ValueError` if grades, order or teacher do not fit the candidates, or if the threshold is below 1.
    """

    item: CandidateList
    grades: tuple[int, ...]
    order: tuple[int, ...]
    relevance_threshold: int = 1
    teacher: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        n, query_id = len(self.item), self.item.query.id
        if len(self.grades) != n or min(self.grades, default=0) < 0 or sorted(self.order) != list(range(n)):
            raise ValueError(
                f"query {query_id!r}: grades {self.grades} and order {self.order} for {n} candidates; expected a grade "
                ">= 0 for each, and each candidate's index once"
            )
        if self.relevance_threshold < 1:
            raise ValueError(f"query {query_id!r}: relevance threshold {self.relevance_threshold}; expected 1 or more")
        if self.teacher is not None and (len(self.teacher) != n or not all(map(math.isfinite, self.teacher))):
            raise ValueError(
                f"query {query_id!r}: teacher {self.teacher}; expected a finite score for each of {n} candidates"
            )

    @property
    def has_pairs(self) -> bool:
        """Whether the candidates have at least two different grades. Alignment and head selection need such lists."""
        return len(set(self.grades)) > 1

    @property
    def length(self) -> int:
        """The number of characters of query and candidates, by which lists are sorted instead of by tokens."""
        return len(self.item.query.text) + sum(len(passage.text) for passage in self.item.passages)

    def top(self, depth: int) -> "LabelledList":
        """Return the list of the first `depth` candidates and their grades; its context order is the first-stage order.

        Raises `ValueError` if `depth` is below 1.
        """
        return self.subset(range(len(self.item.top(depth))))

    def subset(self, kept: Sequence[int]) -> "LabelledList":
        """Return the list of the candidates with these indices; its context order is the order given."""
        return replace(
            self,
            item=self.item.subset(kept),
            grades=tuple(self.grades[i] for i in kept),
            order=tuple(range(len(kept))),
            teacher=None if self.teacher is None else tuple(self.teacher[i] for i in kept),
        )


def usable_lists(lists: Iterable[LabelledList]) -> list[LabelledList]:
    """Return the lists with at least two different grades. Alignment and head selection use only these."""
    return [one for one in lists if one.has_pairs]


def label(item: CandidateList, judged: Mapping[str, int], relevance_threshold: int = 1) -> LabelledList:
    """Add relevance grades to a candidate list. The context order is the first-stage order.

    Args:
        item: the candidate list.
        judged: passage id -> grade. Negative grades and unjudged passages count as 0.
        relevance_threshold: the lowest grade that counts as relevant.
    """
    grades = tuple(max(0, judged.get(passage_id, 0)) for passage_id in item.passage_ids)
    return LabelledList(item, grades, tuple(range(len(item))), relevance_threshold)


def shuffle_context(labelled: LabelledList, key: str, in_zone: float = 0.0) -> LabelledList:
    """Return the labelled list in a shuffled context order, which depends only on the arguments.

    in_zone: the probability, drawn with `key`, that the candidates of the highest grade are then moved to the middle
        zone of the context, as many as fit. [ours]
    """
    shuffled = replace(labelled, order=shuffled_order(labelled.item, key))
    drawn = (
        in_zone
        and random.Random(f"{key}:zone:{labelled.item.query.text}".encode("utf-8", "surrogatepass")).random() < in_zone
    )
    return _with_zone(shuffled) if drawn else shuffled


def _with_zone(labelled: LabelledList) -> LabelledList:
    """Swap each candidate of the highest grade outside the middle zone with one of a lower grade in it."""
    order, highest = list(labelled.order), max(labelled.grades, default=0)
    zone = range(len(order))[middle_zone(len(order))]
    outside = [c for c, i in enumerate(order) if c not in zone and labelled.grades[i] == highest]
    inside = [c for c in zone if labelled.grades[order[c]] < highest]
    for one, other in zip(outside, inside, strict=False):
        order[one], order[other] = order[other], order[one]
    return replace(labelled, order=tuple(order))


def sample_candidates(labelled: LabelledList, count: int, key: str) -> LabelledList:
    """Sample `count` candidates of a labelled list. The sample depends only on `key` and the query's text.

    If the list has several grades, so has the sample. If all sampled candidates have one grade, the first unsampled
    candidate with another grade replaces the last sampled one.

    Args:
        labelled: the list to sample from.
        count: the number of candidates to keep, at least 2. A list of `count` or fewer candidates is unchanged.
        key: the seed, as text.

    Returns:
        The sampled candidates, in first-stage order.
    """
    item, grades = labelled.item, labelled.grades
    if len(item) <= count:
        return labelled
    shuffled = shuffled_indices(len(item), f"{key}:draw:{item.query.text}")
    if len({grades[i] for i in shuffled[:count]}) == 1:
        other = next((i for i in shuffled[count:] if grades[i] != grades[shuffled[0]]), shuffled[count - 1])
        shuffled[count - 1] = other
    return labelled.subset(sorted(shuffled[:count]))


def distinct_ids(lists: Sequence[tuple[str, LabelledList]]) -> tuple[LabelledList, ...]:
    """Make query ids unique across data sets.

    If an id belongs to different queries in different data sets (BEIR ids are often plain numbers), it becomes
    `<name>:<id>` in each of them. Other ids are unchanged.

    Args:
        lists: (name of the data set, labelled list) pairs.

    Raises:
        ConfigError: if two data sets contain the same query (id and text), which could then be in both training and
            validation, or if two renamed ids are equal.
    """
    holders: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, labelled in lists:
        query = labelled.item.query
        text = " ".join(query.text.split()).casefold()
        for other, other_text in holders[query.id]:
            if text == other_text:
                raise ConfigError(
                    f"data: expected each training query once, found query {query.id!r} ({shown(query.text)}) in "
                    f"{other} and in {name}; remove one of the two data sets"
                )
        holders[query.id].append((name, text))
    named: list[LabelledList] = []
    for name, labelled in lists:
        query = labelled.item.query
        if len(holders[query.id]) > 1:
            renamed = Query(f"{name}:{query.id}", query.text)
            labelled = replace(labelled, item=replace(labelled.item, query=renamed))
        named.append(labelled)
    repeated = [query_id for query_id, n in Counter(x.item.query.id for x in named).items() if n > 1]
    if repeated:
        raise ConfigError(
            f"data: expected unique query ids, found {len(repeated)} repeated ids (first: {shown(repeated[0])}) even "
            "with data set names as prefixes; change data.<set>.name or the query ids"
        )
    return tuple(named)


def split(
    lists: Sequence[LabelledList],
    *,
    validation: int,
    fraction: float,
    seed: int,
    unjudged: Container[str] = (),
) -> tuple[tuple[LabelledList, ...], tuple[LabelledList, ...]]:
    """Split labelled lists into training and validation lists, each in the order given.

    Queries are ranked by a random number that depends only on the seed and the query id. Validation takes the first
    ones, training takes the last `fraction` of the rest. For one seed, smaller sets are therefore subsets of larger
    ones, and adding a data set does not change the relative order of the other queries.

    Args:
        lists: the labelled lists.
        validation: the number of validation lists.
        fraction: the share of the remaining lists to train on, in (0, 1]; at least one list is kept.
        seed: the seed of the split.
        unjudged: the ids of generated queries. Validation takes them only if there are too few others, so that adding
            them does not change which judged queries are held out.

    Returns:
        The training lists and the validation lists.

    Raises:
        ConfigError: if `validation` leaves no list to train on.
    """
    if validation >= len(lists):
        raise ConfigError(
            f"alignment.validation_queries is {validation}, which leaves no list to train on; expected fewer than "
            f"{len(lists)}, the number of lists with two grades or more"
        )
    ids = [labelled.item.query.id for labelled in lists]
    ranked = _ranked(lists, seed)
    held_out = set(sorted(ranked, key=lambda i: ids[i] in unjudged)[:validation])
    rest = [i for i in ranked if i not in held_out]
    used = sorted(rest[len(rest) - max(1, round(fraction * len(rest))) :])
    return tuple(lists[i] for i in used), tuple(lists[i] for i in sorted(held_out))


def split_fold(
    lists: Sequence[LabelledList], *, fold: int, folds: int, fraction: float, seed: int, unjudged: Container[str] = ()
) -> tuple[tuple[LabelledList, ...], tuple[LabelledList, ...]]:
    """Split labelled lists into those to train on and those of the held-out fold, each in the order given.

    The lists that `split` trains on without validation are dealt to the folds in the order of their random numbers, so
    the sizes of folds differ by at most one. Lists of generated queries are in no fold and always trained on.

    Args:
        lists: the labelled lists.
        fold: the fold to hold out, from 0.
        folds: the number of folds.
        fraction, seed: see `split`.
        unjudged: the ids of generated queries.

    Raises:
        ConfigError: if there are fewer lists than folds.
    """
    used, _ = split(lists, validation=0, fraction=fraction, seed=seed)
    judged = [i for i in _ranked(used, seed) if used[i].item.query.id not in unjudged]
    if len(judged) < folds:
        raise ConfigError(
            f"alignment.folds is {folds}; expected at most {len(judged)}, the number of judged lists with two grades "
            "or more"
        )
    held_out = set(judged[fold::folds])
    training = tuple(one for i, one in enumerate(used) if i not in held_out)
    return training, tuple(used[i] for i in sorted(held_out))


def _ranked(lists: Sequence[LabelledList], seed: int) -> list[int]:
    """The indices of the lists in a random order of their queries."""
    ids = [labelled.item.query.id for labelled in lists]
    return sorted(range(len(lists)), key=lambda i: (random.Random(f"{seed}:split:{ids[i]}").random(), ids[i]))
