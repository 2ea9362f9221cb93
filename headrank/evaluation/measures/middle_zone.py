"""Measures of the middle zone, the middle half of the context. The definitions are ours, after the paper.

Of N passages in context order, with position p from 0, the zone holds N/4 <= p < 3N/4. The top quartile is final ranks
<= N/4, with ranks from 1. Lists with fewer than 4 passages have no top quartile; they are left out of all measures and
counted as `short_lists`. Relevant means a grade >= the benchmark's threshold; unjudged passages are irrelevant.

- Selectivity (`selectivity.py`): P(top quartile | relevant, in zone) - P(top quartile | irrelevant, in zone).
- Homogenization of the zone, measured for each candidate list and averaged over lists by three numbers. The first is
  the standard deviation of the scores z; its unit is the system's, so it compares only variants of one system. The
  second is the entropy of the attention masses within the zone, divided by its maximum (1: uniform). The third is the
  share of near ties: of the adjacent scores of the zone in sorted order, those closer than 1 % of the whole list's
  range of z.
- Homogenization by position: the standard deviation of z within each of 7 overlapping quarters of the context, divided
  by that of the whole list (1: as spread out as the list, 0: all equal).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from headrank.evaluation.measures.metrics import check_ranking, check_threshold
from headrank.evaluation.measures.selectivity import Selectivity, ZoneCounts, selectivities
from headrank.ranking import ContextScores, Qrels, Run, middle_zone

BINS = 8  # equal parts of the context; the zone is exactly bins 2 to 5, a quarter is two neighbouring bins
QUARTERS = BINS - 1  # overlapping quarters of the context; each starts an eighth after the previous one
NEARLY_EQUAL = 0.01  # of the list's range of scores


@dataclass(frozen=True, slots=True)
class Homogenization:
    """How similar the scores in the middle zone are, for one candidate list or as means over lists.

    A measure is None if it is not defined for the list, or if it is defined for none of the lists.

    deviation: standard deviation of z, in units of z.
    entropy: entropy of the attention masses within the zone divided by the log of its size, in [0, 1]; 1: uniform.
    nearly_equal: share of near ties, that is, of neighbouring scores closer than 1 % of the list's range, in [0, 1].
    """

    deviation: float | None
    entropy: float | None
    nearly_equal: float | None


HOMOGENIZATION = tuple(field.name for field in fields(Homogenization))


def homogenization(context: ContextScores) -> Homogenization:
    """Measure how similar the scores in the middle zone of one candidate list are.

    Args:
        context: scores and attention masses in context order.

    Returns:
        The three measures. All are None if the zone is empty or the context has no scores. `entropy` and `nearly_equal`
        are None for fewer than two passages in the zone, `entropy` also without masses or if they are all 0. If all
        scores are equal, `deviation` is 0 and `nearly_equal` is 1.
    """
    if context.scores is None:
        return Homogenization(None, None, None)
    scores = np.asarray(context.scores, dtype=np.float64)
    inside = middle_zone(len(scores))
    zone = scores[inside]
    deviation = float(zone.std()) if zone.size else None
    masses = None if context.masses is None else np.asarray(context.masses, dtype=np.float64)[inside]
    entropy = None if masses is None else _normalised_entropy(masses)
    nearly_equal = None
    if zone.size > 1:
        gaps, width = np.diff(np.sort(zone)), float(np.ptp(scores))
        # gaps <= 0 count too: if all scores are equal, the range is 0 and no gap is below 1 % of it
        nearly_equal = float(np.mean((gaps < NEARLY_EQUAL * width) | (gaps <= 0)))
    return Homogenization(deviation, entropy, nearly_equal)


def spread_by_quarter(context: ContextScores) -> tuple[float | None, ...]:
    """Return the standard deviation of z in 7 overlapping quarters of the context, divided by that of the whole list.

    Args:
        context: the scores of one candidate list in context order.

    Returns:
        One value per quarter, from first to last. None for a quarter of fewer than two passages; all None if the scores
        are equal or the context has no scores.
    """
    if context.scores is None:
        return (None,) * QUARTERS
    scores = np.asarray(context.scores, dtype=np.float64)
    n, list_std = len(scores), float(scores.std()) if len(scores) else 0.0
    bins = BINS * np.arange(n) // max(1, n)
    values: list[float | None] = []
    for quarter in range(QUARTERS):
        inside = scores[(bins == quarter) | (bins == quarter + 1)]
        values.append(float(inside.std()) / list_std if inside.size > 1 and list_std > 0 else None)
    return tuple(values)


def _normalised_entropy(masses: Float[np.ndarray, " zone"]) -> float | None:
    """-sum p log p / log n with p = masses / their sum, 0 log 0 = 0, in [0, 1]; None for fewer than two or no mass."""
    total = float(masses.sum())
    if masses.size < 2 or total <= 0:
        return None
    p = masses / total
    p = p[p > 0]  # after the division, where a tiny mass may become 0
    return min(1.0, max(0.0, float(-(p * np.log(p)).sum() / math.log(masses.size))))  # rounding may leave [0, 1]


MIN_PASSAGES = 4  # a shorter list has no top quartile


@dataclass(frozen=True, slots=True)
class MiddleZone:
    """The measures of the middle zone for one system on one benchmark.

    zone: counts of the zone's passages in each candidate list, in the order of the contexts; the bootstrap resamples
        them.
    positions: counts over all lists for each of 8 equal parts of the context, from first to last.
    position_intervals: the 95 % bootstrap interval of each part's selectivity (`ZoneCounts.difference`), or None.
    homogenization: the means over lists.
    lists: the number of measured lists.
    short_lists: the number of lists left out because they have fewer than 4 passages.
    per_list: the homogenization of each list, in the order of `zone`.
    spread: `spread_by_quarter` of each list, in the order of `zone`.
    """

    zone: tuple[ZoneCounts, ...]
    positions: tuple[ZoneCounts, ...]
    position_intervals: tuple[tuple[float, float] | None, ...]
    homogenization: Homogenization
    lists: int
    short_lists: int
    per_list: tuple[Homogenization, ...] = ()
    spread: tuple[tuple[float | None, ...], ...] = ()

    @property
    def by_position(self) -> tuple[Selectivity, ...]:
        """The selectivity within each of the 8 parts of the context, from first to last, over all lists."""
        pairs = zip(self.positions, self.position_intervals, strict=True)
        return tuple(counts.selectivity(interval) for counts, interval in pairs)


def measure_middle_zone(
    contexts: Sequence[ContextScores], rankings: Run, qrels: Qrels, *, relevance_threshold: int = 1, seed: int = 0
) -> MiddleZone:
    """Measure selectivity and homogenization of the middle zone for one system on one benchmark.

    Args:
        contexts: scores and masses of each candidate list in context order, one per query.
        rankings: query id -> final ranking. It may hold further passages, which are ignored.
        qrels: query id -> passage id -> grade.
        relevance_threshold: the lowest grade that counts as relevant.
        seed: the seed of the bootstrap.

    Returns:
        The measures; `lists` is 0 and all means are None if every list has fewer than 4 passages.

    Raises:
        ValueError: a query has two lists; a list has no ranking, a passage that its ranking lacks, or a passage twice;
            a score or mass is not finite, or a mass is negative; the threshold is below 1.
    """
    check_threshold(relevance_threshold)
    zone: list[ZoneCounts] = []
    parts: list[list[ZoneCounts]] = [[] for _ in range(BINS)]
    per_list: list[Homogenization] = []
    spread: list[tuple[float | None, ...]] = []
    seen: set[str] = set()
    for context in contexts:
        if context.query_id in seen:
            raise ValueError(f"query {context.query_id!r} has two lists of scores in context order, expected one")
        seen.add(context.query_id)
        _check_numbers(context)
        top = _top_quartile(context, rankings)
        n = len(context.passage_ids)
        if n < MIN_PASSAGES:
            continue
        counts = _counts(context.passage_ids, top, qrels.get(context.query_id, {}), relevance_threshold)
        for i, part in enumerate(parts):
            part.append(sum((c for position, c in enumerate(counts) if BINS * position // n == i), ZoneCounts()))
        zone.append(sum(counts[middle_zone(n)], ZoneCounts()))
        per_list.append(homogenization(context))
        spread.append(spread_by_quarter(context))
    return MiddleZone(
        zone=tuple(zone),
        positions=tuple(sum(part, ZoneCounts()) for part in parts),
        position_intervals=tuple(one.interval for one in selectivities(parts, seed=seed)),
        homogenization=_average(per_list),
        lists=len(zone),
        short_lists=len(contexts) - len(zone),
        per_list=tuple(per_list),
        spread=tuple(spread),
    )


def _counts(
    passage_ids: Sequence[str], top: frozenset[str], grades: Mapping[str, int], threshold: int
) -> list[ZoneCounts]:
    """The counts of each context position."""
    counts = []
    for passage in passage_ids:
        relevant, promoted = grades.get(passage, 0) >= threshold, int(passage in top)
        counts.append(ZoneCounts(1, promoted, 0, 0) if relevant else ZoneCounts(0, 0, 1, promoted))
    return counts


def _top_quartile(context: ContextScores, rankings: Run) -> frozenset[str]:
    """The passages of a list whose final rank, among the list's passages, is <= N/4."""
    query_id, listed = context.query_id, frozenset(context.passage_ids)
    if len(listed) != len(context.passage_ids):
        raise ValueError(f"query {query_id!r}: a passage appears twice in its context order")
    ranking = rankings.get(query_id)
    if ranking is None:
        raise ValueError(f"query {query_id!r} has scores in context order but no ranking")
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
