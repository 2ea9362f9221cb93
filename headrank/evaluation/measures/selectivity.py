"""Selectivity: how much likelier a relevant passage of the middle zone reaches the top quartile than an irrelevant one.

Both shares are pooled over lists, so each passage counts the same. The interval comes from a bootstrap over queries,
not passages: passages of one query stand or fall together. A random reranker has 25 % in both, a difference of 0.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from jaxtyping import Float

from headrank.evaluation.measures.bootstrap import RESAMPLES, Estimate, percentiles, resampled_sums


@dataclass(frozen=True, slots=True)
class ZoneCounts:
    """Passages of a zone, or of a part of the context: the relevant ones, how many of them are in the top quartile,
    and the same of the irrelevant ones. Counts add up."""

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
        """Share of the relevant passages that reach the top quartile; None if there are none."""
        return self.relevant_top / self.relevant if self.relevant else None

    @property
    def irrelevant_share(self) -> float | None:
        """Share of the irrelevant passages that reach the top quartile; None if there are none."""
        return self.irrelevant_top / self.irrelevant if self.irrelevant else None

    @property
    def difference(self) -> float | None:
        """Relevant share minus irrelevant share, in [-1, 1]; None where passages of a kind are missing."""
        relevant, irrelevant = self.relevant_share, self.irrelevant_share
        return None if relevant is None or irrelevant is None else relevant - irrelevant


@dataclass(frozen=True, slots=True)
class Selectivity:
    """Shares in [0, 1] of the zone's passages that reach the top quartile, and their difference.

    None if the zone holds no passage of a kind. `interval` is the 95 % bootstrap interval of the difference; None
    where the difference is, and for fewer than two lists.
    """

    relevant: float | None
    irrelevant: float | None
    difference: float | None
    interval: tuple[float, float] | None
    relevant_passages: int
    irrelevant_passages: int


def selectivity(zone: Sequence[ZoneCounts], *, resamples: int = RESAMPLES, seed: int = 0) -> Selectivity:
    """The selectivity over lists (one entry of counts each; those of several benchmarks may be put together).

    Percentile bootstrap (Efron 1979): lists are drawn with replacement `resamples` times. Resamples without a passage
    of either kind have no difference and are left out; where that is every other one, there is no interval.

    Raises `ValueError` if `resamples` is below 1000.
    """
    return selectivities([zone], resamples=resamples, seed=seed)[0]


def selectivities(
    parts: Sequence[Sequence[ZoneCounts]], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Selectivity, ...]:
    """The selectivity of several parts of the same lists, each as `selectivity` gives it, over the same resamples.

    parts: for each part of the context one entry of counts a list, the same lists in the same order.
    """
    if resamples < 1000:
        raise ValueError(f"{resamples} bootstrap resamples: expected 1000 or more for 95 % percentiles")
    totals = [sum(part, ZoneCounts()) for part in parts]
    intervals: list[tuple[float, float] | None] = [None] * len(totals)
    if any(total.difference is not None for total in totals) and len(parts[0]) > 1:
        counts = np.hstack([_counts(part) for part in parts])
        sums = resampled_sums(counts, resamples=resamples, seed=seed)
        intervals = [_interval(_differences(sums[:, i : i + 4])) for i in range(0, sums.shape[1], 4)]
    return tuple(
        Selectivity(
            total.relevant_share,
            total.irrelevant_share,
            total.difference,
            None if total.difference is None else interval,
            total.relevant,
            total.irrelevant,
        )
        for total, interval in zip(totals, intervals, strict=True)
    )


def selectivity_change(
    before: Sequence[ZoneCounts], after: Sequence[ZoneCounts], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate | None:
    """The selectivity of `after` minus that of `before`, over the same lists in the same order (paired bootstrap).

    None where either has no selectivity. Raises `ValueError` if the numbers of lists differ.
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
    """Of each resample the difference of its shares; NaN where it lacks a kind of passage."""
    relevant, relevant_top, irrelevant, irrelevant_top = sums.T
    both = (relevant > 0) & (irrelevant > 0)
    shares = relevant_top / np.maximum(relevant, 1) - irrelevant_top / np.maximum(irrelevant, 1)
    return np.where(both, shares, np.nan)


def _interval(differences: Float[np.ndarray, " resamples"]) -> tuple[float, float] | None:
    present = differences[~np.isnan(differences)]
    return percentiles(present) if len(present) > len(differences) / 2 else None
