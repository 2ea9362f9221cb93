"""The middle zone: what becomes of the passages in the middle of the context. Definitions are ours, after the paper's.

Of N passages in context order, position p counting from 0, the zone holds those with N/4 <= p < 3N/4. The top quartile
are final ranks <= N/4, rank counting from 1. Lists with fewer than 4 passages have no top quartile, so nothing could
reach it: they are left out of all figures here and counted as `short_lists`.

- Selectivity (`selectivity.py`): P(top quartile | relevant, in zone) - P(top quartile | irrelevant, in zone).
- Homogenization (`homogenization.py`): how alike the zone's scores are, and the scores of each quarter of the context,
  per list and then averaged over lists.

Relevant means a grade >= the benchmark's threshold. Unjudged passages are irrelevant.

How alike a list's scores are in parts of its context. Definitions are ours, after the paper's homogenization.

- Of the zone, per list: the standard deviation of the scores z (in the system's own unit, so to be compared between
  variants of one system only); the normalised entropy of the attention masses' shares within the zone (1: all the
  same); the share of neighbours that are nearly equal, where neighbours are adjacent scores of the zone in sorted order
  and nearly equal means closer than 1 % of the whole list's range of z.
- By place: the standard deviation of z within each of 7 overlapping quarters of the context over that of the whole
  list, so without a unit: 1 is as spread out as the list, 0 all the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from headrank.evaluation.measures.metrics import check_ranking, check_threshold
from headrank.evaluation.measures.selectivity import ZoneCounts, selectivities
from headrank.ranking import ContextScores, Qrels, Run

BINS = 8  # of the context, of equal width; the zone is bins 2 to 5 exactly, a quarter two neighbouring ones
PLACES = BINS - 1  # quarters of the context, each starting an eighth after the one before
NEARLY_EQUAL = 0.01  # of the list's range of scores


@dataclass(frozen=True, slots=True)
class Homogenization:
    """How alike the zone's scores are, of a list or averaged over lists. None where no list has what it needs.

    deviation: standard deviation of z, in units of z.
    entropy: of the masses' shares within the zone, over log of the zone's size, in [0, 1].
    nearly_equal: share of neighbouring scores closer than 1 % of the list's range, in [0, 1].
    """

    deviation: float | None
    entropy: float | None
    nearly_equal: float | None


def zone_slice(n: int) -> slice:
    """The zone of a list of `n` passages, as positions in context order: N/4 <= p < 3N/4."""
    return slice(-(-n // 4), -(-3 * n // 4))  # rounded up


def homogenization(context: ContextScores) -> Homogenization:
    """How alike the scores in the zone of one list are.

    A zone without passages has None throughout; entropy and neighbours need two passages in it. Scores that are all the
    same have deviation 0 and only nearly equal neighbours. Entropy is None without masses, or where all of them are 0;
    everything is where there are ranks alone.
    """
    if context.scores is None:
        return Homogenization(None, None, None)
    scores = np.asarray(context.scores, dtype=np.float64)
    inside = zone_slice(len(scores))
    zone = scores[inside]
    deviation = float(zone.std()) if zone.size else None
    masses = None if context.masses is None else np.asarray(context.masses, dtype=np.float64)[inside]
    entropy = None if masses is None else _normalised_entropy(masses)
    nearly_equal = None
    if zone.size > 1:
        gaps, width = np.diff(np.sort(zone)), float(np.ptp(scores))
        # gaps <= 0 too: where all scores are the same the range is 0 and no gap is below a hundredth of it
        nearly_equal = float(np.mean((gaps < NEARLY_EQUAL * width) | (gaps <= 0)))
    return Homogenization(deviation, entropy, nearly_equal)


def spread_by_place(context: ContextScores) -> tuple[float | None, ...]:
    """The standard deviation of z within each quarter of the context over the whole list's, first quarter first.

    None for a quarter of fewer than two passages, and throughout where all scores of the list are the same or there are
    ranks alone.
    """
    if context.scores is None:
        return (None,) * PLACES
    scores = np.asarray(context.scores, dtype=np.float64)
    n, whole = len(scores), float(scores.std()) if len(scores) else 0.0
    bins = BINS * np.arange(n) // max(1, n)
    values: list[float | None] = []
    for place in range(PLACES):
        inside = scores[(bins == place) | (bins == place + 1)]
        values.append(float(inside.std()) / whole if inside.size > 1 and whole > 0 else None)
    return tuple(values)


def _normalised_entropy(masses: Float[np.ndarray, " zone"]) -> float | None:
    """-sum p log p / log n with p = masses / their sum, 0 log 0 = 0, in [0, 1]; None for fewer than two or no mass."""
    total = float(masses.sum())
    if masses.size < 2 or total <= 0:
        return None
    p = masses / total
    p = p[p > 0]  # after dividing: a tiny mass may become 0 there
    return min(1.0, max(0.0, float(-(p * np.log(p)).sum() / math.log(masses.size))))  # rounding may leave [0, 1]


SHORTEST = 4  # passages of a list that has a top quartile


@dataclass(frozen=True, slots=True)
class MiddleZone:
    """The middle zone of one system on one benchmark.

    zone: counts per list, in the order of the contexts (kept per list: intervals resample them).
    positions: counts over all lists for each of 8 equal parts of the context, first part first.
    position_intervals: the 95 % bootstrap interval of each part's selectivity (`ZoneCounts.difference`), or None.
    homogenization: averaged over lists. per_list: of each list, in the order of `zone`.
    spread: of each list, in the order of `zone`: spread of the scores by place (`spread_by_place`).
    lists, short_lists: lists that were used, and those with fewer than 4 passages that were not.
    """

    zone: tuple[ZoneCounts, ...]
    positions: tuple[ZoneCounts, ...]
    position_intervals: tuple[tuple[float, float] | None, ...]
    homogenization: Homogenization
    lists: int
    short_lists: int
    per_list: tuple[Homogenization, ...] = ()
    spread: tuple[tuple[float | None, ...], ...] = ()


def measure_middle_zone(
    contexts: Sequence[ContextScores], rankings: Run, qrels: Qrels, *, relevance_threshold: int = 1, seed: int = 0
) -> MiddleZone:
    """Measure the zone over lists as the model read them and the rankings it made of them.

    A final rank is a passage's rank among the list's own passages, so a ranking may hold more than the list. `seed` is
    the bootstrap's.

    Raises `ValueError` on a query with two lists, on a list without a ranking or with a passage that its ranking lacks
    or that stands twice, on NaN or infinite scores or masses, on negative masses, on a threshold below 1.
    """
    check_threshold(relevance_threshold)
    zone: list[ZoneCounts] = []
    parts: list[list[ZoneCounts]] = [[] for _ in range(BINS)]
    alike: list[Homogenization] = []
    spread: list[tuple[float | None, ...]] = []
    seen: set[str] = set()
    for context in contexts:
        if context.query_id in seen:
            raise ValueError(f"query {context.query_id!r} has two lists of scores in context order, expected one")
        seen.add(context.query_id)
        _check_numbers(context)
        top = _top_quartile(context, rankings)
        n = len(context.passage_ids)
        if n < SHORTEST:
            continue
        bins = _bin_counts(context.passage_ids, top, qrels.get(context.query_id, {}), relevance_threshold)
        for part, counts in zip(parts, bins, strict=True):
            part.append(counts)
        zone.append(sum(bins[BINS // 4 : 3 * BINS // 4], ZoneCounts()))
        alike.append(homogenization(context))
        spread.append(spread_by_place(context))
    return MiddleZone(
        zone=tuple(zone),
        positions=tuple(sum(part, ZoneCounts()) for part in parts),
        position_intervals=tuple(one.interval for one in selectivities(parts, seed=seed)),
        homogenization=_average(alike),
        lists=len(zone),
        short_lists=len(contexts) - len(zone),
        per_list=tuple(alike),
        spread=tuple(spread),
    )


def _bin_counts(
    passage_ids: Sequence[str], top: frozenset[str], grades: Mapping[str, int], threshold: int
) -> list[ZoneCounts]:
    n = len(passage_ids)
    bins = [ZoneCounts()] * BINS
    for position, passage in enumerate(passage_ids):
        relevant, promoted = grades.get(passage, 0) >= threshold, int(passage in top)
        bins[BINS * position // n] += ZoneCounts(1, promoted, 0, 0) if relevant else ZoneCounts(0, 0, 1, promoted)
    return bins


def _top_quartile(context: ContextScores, rankings: Run) -> frozenset[str]:
    """The passages of a list whose final rank, among the list's passages, is <= N/4."""
    query_id, listed = context.query_id, frozenset(context.passage_ids)
    if len(listed) != len(context.passage_ids):
        raise ValueError(f"query {query_id!r}: a passage stands twice in its context order")
    ranking = rankings.get(query_id)
    if ranking is None:
        raise ValueError(f"query {query_id!r} has scores in context order and no ranking")
    check_ranking(query_id, ranking)
    ranked = [passage for passage in ranking.passage_ids if passage in listed]
    if len(ranked) < len(listed):
        missing = sorted(listed - set(ranked))
        raise ValueError(
            f"query {query_id!r}: {len(missing)} of the {len(listed)} passages in context order are not in the "
            f"ranking, such as {missing[0]!r}; expected a ranking of the same passages"
        )
    return frozenset(ranked[: len(ranked) // 4])


def _check_numbers(context: ContextScores) -> None:
    for name, numbers in (("score", context.scores or ()), ("mass", context.masses or ())):
        for passage, number in zip(context.passage_ids, numbers, strict=False):
            if not math.isfinite(number) or (name == "mass" and number < 0):
                expected = "a finite number" + (", 0 or more" if name == "mass" else "")
                raise ValueError(
                    f"query {context.query_id!r}, passage {passage!r}: {name} {number}, expected {expected}"
                )


def _average(lists: Sequence[Homogenization]) -> Homogenization:
    def mean(values: list[float | None]) -> float | None:
        present = [value for value in values if value is not None]
        return math.fsum(present) / len(present) if present else None

    return Homogenization(
        mean([x.deviation for x in lists]), mean([x.entropy for x in lists]), mean([x.nearly_equal for x in lists])
    )
