"""Selectivity: how much likelier a relevant passage of the middle zone reaches the top quartile than an irrelevant one.

Both shares are pooled over lists, so each passage counts the same. The interval comes from a bootstrap over queries,
not passages: passages of one query stand or fall together. A random reranker has 25 % in both, a difference of 0.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000  # puts a percentile's own error well below the one decimal that is shown
CONFIDENCE = 0.95
_CELLS = 2_000_000  # of the matrix of resampled counts that is held at a time: 16 MB


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
        """Share of the relevant passages that reach the top quartile; None where there are none."""
        return self.relevant_top / self.relevant if self.relevant else None

    @property
    def irrelevant_share(self) -> float | None:
        """Share of the irrelevant passages that reach the top quartile; None where there are none."""
        return self.irrelevant_top / self.irrelevant if self.irrelevant else None


@dataclass(frozen=True, slots=True)
class Selectivity:
    """Shares in [0, 1] of the zone's passages that reach the top quartile, and their difference.

    None where the zone holds no passage of a kind. `interval` is the 95 % bootstrap interval of the difference; None
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

    Raises `ValueError` where `resamples` is below 1000.
    """
    if resamples < 1000:
        raise ValueError(f"{resamples} bootstrap resamples: wanted 1000 or more for 95 % percentiles")
    total = sum(zone, ZoneCounts())
    relevant, irrelevant = total.relevant_share, total.irrelevant_share
    difference = None if relevant is None or irrelevant is None else relevant - irrelevant
    interval = None
    if difference is not None and len(zone) > 1:
        counts = np.array([astuple(c) for c in zone], dtype=np.float64)
        interval = _interval(counts, resamples, np.random.default_rng(seed))
    return Selectivity(relevant, irrelevant, difference, interval, total.relevant, total.irrelevant)


def _interval(
    counts: Float[np.ndarray, "lists 4"], resamples: int, rng: np.random.Generator
) -> tuple[float, float] | None:
    lists = len(counts)
    at_once = max(1, _CELLS // lists)
    sums = []
    for start in range(0, resamples, at_once):
        # how often each list is drawn, when as many lists as there are are drawn with replacement
        drawn = rng.multinomial(lists, np.full(lists, 1 / lists), size=min(at_once, resamples - start))
        sums.append(drawn @ counts)
    relevant, relevant_top, irrelevant, irrelevant_top = np.concatenate(sums).T
    both = (relevant > 0) & (irrelevant > 0)
    if both.sum() <= resamples / 2:
        return None
    differences = relevant_top[both] / relevant[both] - irrelevant_top[both] / irrelevant[both]
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
