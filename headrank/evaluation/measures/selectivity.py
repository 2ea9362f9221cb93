"""Measure selectivity: how much more often relevant than irrelevant passages of the middle zone are ranked at the top.

`middle_zone.py` defines the middle zone. The top is the top quartile, the first quarter of the final ranking.
Selectivity is the share of the zone's relevant passages in the top quartile minus that of its irrelevant passages.

Both shares are pooled over candidate lists, so each passage has the same weight. The bootstrap resamples queries, not
passages, because passages of one query depend on each other. A random reranker has shares of 25 % and a selectivity of
0.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from jaxtyping import Float

from headrank.evaluation.measures.bootstrap import RESAMPLES, Estimate, percentiles, resampled_sums


@dataclass(frozen=True, slots=True)
class ZoneCounts:
    """The passages in one part of the context, counted by relevance. Counts can be added.

    relevant, irrelevant: the numbers of relevant and of irrelevant passages.
    relevant_top, irrelevant_top: the numbers of these passages that are in the top quartile of the ranking.
    """

    relevant: int = 0
    relevant_top: int = 0
    irrelevant: int = 0
    irrelevant_top: int = 0

    def __add__(self, other: "ZoneCounts") -> "ZoneCounts":
        return ZoneCounts(
            self.relevant + other.relevant,
            self.relevant_top + other.relevant_top,
            self.irrelevant + other.irrelevant,
            self.irrelevant_top + other.irrelevant_top,
        )

    @property
    def relevant_share(self) -> float | None:
        """Share of the relevant passages that reach the top quartile; None without relevant passages."""
        return self.relevant_top / self.relevant if self.relevant else None

    @property
    def irrelevant_share(self) -> float | None:
        """Share of the irrelevant passages that reach the top quartile; None without irrelevant passages."""
        return self.irrelevant_top / self.irrelevant if self.irrelevant else None

    @property
    def difference(self) -> float | None:
        """Relevant share minus irrelevant share, in [-1, 1]; None if either share is None."""
        relevant, irrelevant = self.relevant_share, self.irrelevant_share
        return None if relevant is None or irrelevant is None else relevant - irrelevant

    def selectivity(self, interval: tuple[float, float] | None) -> "Selectivity":
        """Convert the counts to shares and their difference.

        interval: the 95 % interval of the difference. It is replaced by None if the difference is None.
        """
        return Selectivity(
            self.relevant_share,
            self.irrelevant_share,
            self.difference,
            None if self.difference is None else interval,
            self.relevant,
            self.irrelevant,
        )


@dataclass(frozen=True, slots=True)
class Selectivity:
    """The selectivity in one part of the context, such as the middle zone.

    relevant: the share of the part's relevant passages that the ranking puts in its top quartile, in [0, 1]; None
        without relevant passages.
    irrelevant: the same share of irrelevant passages.
    difference: relevant - irrelevant, the selectivity; None if either is None.
    interval: the 95 % bootstrap interval of the difference. It is None without a difference, for fewer than two
        candidate lists, and if at least half of the resamples have no difference.
    relevant_passages, irrelevant_passages: the numbers of relevant and of irrelevant passages in the part.
    """

    relevant: float | None
    irrelevant: float | None
    difference: float | None
    interval: tuple[float, float] | None
    relevant_passages: int
    irrelevant_passages: int


def selectivity(zone: Sequence[ZoneCounts], *, resamples: int = RESAMPLES, seed: int = 0) -> Selectivity:
    """Compute the selectivity in one part of the context, with its percentile bootstrap interval over candidate lists.

    Both shares are pooled over the lists.

    Args:
        zone: the counts of each list in one part of the context; lists of several benchmarks can be pooled.
        resamples: number of resamples, 1000 or more. A resample that lacks relevant or irrelevant passages has no
            difference and is left out; if at least half are left out, the interval is None.
        seed: the seed of the random draws.

    Raises:
        ValueError: `resamples` is below 1000.
    """
    return selectivities([zone], resamples=resamples, seed=seed)[0]


def selectivities(
    parts: Sequence[Sequence[ZoneCounts]], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Selectivity, ...]:
    """Compute the selectivity in several parts of the context, with the same resamples of the lists for all parts.

    Args:
        parts: for each part of the context, the counts per list; the lists have the same order in each part.
        resamples: the number of resamples, 1000 or more.
        seed: the seed of the random draws.

    Returns:
        One result per part, as `selectivity` returns it.

    Raises:
        ValueError: `resamples` is below 1000.
    """
    if resamples < 1000:
        raise ValueError(f"{resamples} bootstrap resamples: expected 1000 or more for 95 % percentiles")
    totals = [sum(part, ZoneCounts()) for part in parts]
    intervals: list[tuple[float, float] | None] = [None] * len(totals)
    if any(total.difference is not None for total in totals) and len(parts[0]) > 1:
        counts = np.hstack([_counts(part) for part in parts])
        sums = resampled_sums(counts, resamples=resamples, seed=seed)
        intervals = [_interval(_differences(sums[:, i : i + 4])) for i in range(0, sums.shape[1], 4)]
    return tuple(total.selectivity(interval) for total, interval in zip(totals, intervals, strict=True))


def selectivity_change(
    before: Sequence[ZoneCounts], after: Sequence[ZoneCounts], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate | None:
    """Compute the selectivity of `after` minus that of `before`, with its paired bootstrap interval.

    Args:
        before, after: the counts per candidate list, for the same lists in the same order.
        resamples: the number of resamples, 1000 or more.
        seed: the seed of the random draws.

    Returns:
        The change. None if `before` or `after` has no relevant or no irrelevant passages.

    Raises:
        ValueError: the numbers of lists differ.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} lists before and {len(after)} after: expected the same lists")
    counts = np.hstack([_counts(before), _counts(after)])
    total = counts.sum(0, keepdims=True)
    change = float((_differences(total[:, 4:]) - _differences(total[:, :4]))[0])
    if np.isnan(change):
        return None
    interval = None
    if len(before) > 1:
        sums = resampled_sums(counts, resamples=resamples, seed=seed)
        interval = _interval(_differences(sums[:, 4:]) - _differences(sums[:, :4]))
    return Estimate(change, interval, len(before))


def _counts(zone: Sequence[ZoneCounts]) -> Float[np.ndarray, "lists 4"]:
    return np.array([astuple(counts) for counts in zone], dtype=np.float64).reshape(-1, 4)


def _differences(sums: Float[np.ndarray, "resamples 4"]) -> Float[np.ndarray, " resamples"]:
    """The difference of shares in each resample; NaN without passages of both kinds."""
    relevant, relevant_top, irrelevant, irrelevant_top = sums.T
    both = (relevant > 0) & (irrelevant > 0)
    shares = relevant_top / np.maximum(relevant, 1) - irrelevant_top / np.maximum(irrelevant, 1)
    return np.where(both, shares, np.nan)


def _interval(differences: Float[np.ndarray, " resamples"]) -> tuple[float, float] | None:
    present = differences[~np.isnan(differences)]
    return percentiles(present) if len(present) > len(differences) / 2 else None
