"""Percentile bootstrap (Efron 1979) over candidate lists: intervals of sums, means and differences of ratios.

Each resample draws n of the n lists with replacement. One list belongs to one query, so the passages of a query are
drawn together. The same seed gives the same interval.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000  # keeps the error of a percentile well below the one decimal shown
CONFIDENCE = 0.95
_CELLS = 2_000_000  # of the matrix of draws held at a time: 16 MB


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % bootstrap interval over queries.

    interval: (lower end, upper end); None if it is not defined, for example for fewer than two lists.
    lists: the number of lists behind the value, one list per query.
    """

    value: float
    interval: tuple[float, float] | None
    lists: int

    @property
    def cells(self) -> tuple[float, float | None, float | None]:
        """Value, lower end and upper end for an interval column of a table; the ends are None without an interval."""
        low, high = self.interval or (None, None)
        return self.value, low, high


def resampled_sums(
    rows: Float[np.ndarray, "lists columns"], *, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "resamples columns"]:
    """Draw bootstrap resamples of the rows and sum the columns of each.

    Args:
        rows: [lists, columns], one row of summands per list.
        resamples: the number of resamples, 1000 or more.
        seed: the seed of the random draws.

    Returns:
        [resamples, columns], the sums of each resample.

    Raises:
        ValueError: `resamples` is below 1000, or there are no rows.
    """
    if resamples < 1000:
        raise ValueError(f"{resamples} bootstrap resamples: expected 1000 or more for 95 % percentiles")
    if not len(rows):
        raise ValueError("no lists to resample: expected at least one")
    return np.concatenate(list(_draws(rows, resamples, np.random.default_rng(seed))))


def percentiles(values: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % percentiles of resampled values, which are the ends of the 95 % interval."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def mean_estimate(values: Sequence[float | None], *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate | None:
    """Compute the mean of one value per candidate list, with its bootstrap interval.

    Args:
        values: one value per list; lists whose value is None are left out.
        resamples: the number of resamples, 1000 or more.
        seed: the seed of the random draws.

    Returns:
        The mean; None if no list has a value.
    """
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
    """Compute the mean of after - before with its paired bootstrap interval.

    Args:
        before, after: one value per candidate list, for the same lists in the same order. A list that has None in
            either is left out.
        resamples: the number of resamples, 1000 or more.
        seed: the seed of the random draws.

    Returns:
        The change; None if no list has both values.

    Raises:
        ValueError: the numbers of lists differ.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} lists before and {len(after)} after: expected the same lists")
    changes = [None if a is None or b is None else b - a for a, b in zip(before, after, strict=True)]
    return mean_estimate(changes, resamples=resamples, seed=seed)


def macro_estimate(values: Sequence[Sequence[float]], *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Compute the mean of the benchmarks' means (macro mean), with its bootstrap interval.

    Queries are resampled within their benchmark.

    Args:
        values: for each benchmark, one value per query.
        resamples: the number of resamples, 1000 or more.
        seed: the seed of the random draws.

    Returns:
        The macro mean; its interval is None if a benchmark has a single query.

    Raises:
        ValueError: a benchmark has no queries.
    """
    means = []
    for number, per_query in enumerate(values):
        column = np.asarray(per_query, dtype=np.float64)[:, None]
        means.append(resampled_sums(column, resamples=resamples, seed=seed + number)[:, 0] / len(per_query))
    value = float(np.mean([np.mean(per_query) for per_query in values]))
    several = all(len(per_query) > 1 for per_query in values)
    return Estimate(
        value, percentiles(np.mean(means, axis=0)) if several else None, sum(len(per_query) for per_query in values)
    )


def _draws(
    rows: Float[np.ndarray, "lists columns"], resamples: int, rng: np.random.Generator
) -> Iterator[Float[np.ndarray, "some columns"]]:
    lists = len(rows)
    at_once = max(1, _CELLS // lists)
    for start in range(0, resamples, at_once):
        # how often each list is drawn in n draws with replacement
        yield rng.multinomial(lists, np.full(lists, 1 / lists), size=min(at_once, resamples - start)) @ rows
