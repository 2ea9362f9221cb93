"""Percentile bootstrap (Efron 1979) over lists: what a sum, a mean or a difference of ratios would be on other queries.

Lists are drawn with replacement, as many as there are; a list stands for its query, so passages of one query stand or
fall together. The same seed gives the same interval.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000  # puts a percentile's own error well below the one decimal that is shown
CONFIDENCE = 0.95
_CELLS = 2_000_000  # of the matrix of draws that is held at a time: 16 MB


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % bootstrap interval over queries; `interval` is None for fewer than two lists."""

    value: float
    interval: tuple[float, float] | None
    lists: int

    @property
    def cells(self) -> tuple[float, float | None, float | None]:
        """Value, lower and upper end, as a table's interval column takes them."""
        low, high = self.interval or (None, None)
        return self.value, low, high


def resampled_sums(
    rows: Float[np.ndarray, "lists columns"], *, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "resamples columns"]:
    """The columns' sums over each resample of the rows.

    Raises `ValueError` if `resamples` is below 1000 or there are no rows.
    """
    if resamples < 1000:
        raise ValueError(f"{resamples} bootstrap resamples: expected 1000 or more for 95 % percentiles")
    if not len(rows):
        raise ValueError("no lists to resample: expected at least one")
    return np.concatenate(list(_draws(rows, resamples, np.random.default_rng(seed))))


def percentiles(values: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """The ends of the 95 % interval of resampled values."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def mean_estimate(values: Sequence[float | None], *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate | None:
    """The mean over lists with its interval; lists that have no value are left out, and None where none has one."""
    present = np.array([value for value in values if value is not None], dtype=np.float64)
    n = len(present)
    if not n:
        return None
    interval = None
    if n > 1:
        interval = percentiles(resampled_sums(present[:, None], resamples=resamples, seed=seed)[:, 0] / n)
    return Estimate(float(present.mean()), interval, n)


def change_estimate(
    before: Sequence[float | None], after: Sequence[float | None], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate | None:
    """The mean of after - before over the lists that have both, paired list by list.

    Raises `ValueError` if the numbers of lists differ.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} lists before and {len(after)} after: expected the same lists")
    changes = [None if a is None or b is None else b - a for a, b in zip(before, after, strict=True)]
    return mean_estimate(changes, resamples=resamples, seed=seed)


def macro_estimate(values: Sequence[Sequence[float]], *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean of several benchmarks' means, each of one value a query; queries are drawn within their benchmark.

    No interval where a benchmark has a single query. Raises `ValueError` if one has none.
    """
    means = []
    for number, of in enumerate(values):
        column = np.asarray(of, dtype=np.float64)[:, None]
        means.append(resampled_sums(column, resamples=resamples, seed=seed + number)[:, 0] / len(of))
    value = float(np.mean([np.mean(of) for of in values]))
    several = all(len(of) > 1 for of in values)
    return Estimate(value, percentiles(np.mean(means, axis=0)) if several else None, sum(len(of) for of in values))


def _draws(
    rows: Float[np.ndarray, "lists columns"], resamples: int, rng: np.random.Generator
) -> Iterator[Float[np.ndarray, "some columns"]]:
    lists = len(rows)
    at_once = max(1, _CELLS // lists)
    for start in range(0, resamples, at_once):
        # how often each list is drawn, when as many lists as there are are drawn with replacement
        yield rng.multinomial(lists, np.full(lists, 1 / lists), size=min(at_once, resamples - start)) @ rows
