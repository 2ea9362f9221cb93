"""Paired significance tests of two systems over the queries of a benchmark.

Both tests are two-sided: Student's t test, and the randomization test (Fisher; recommended for IR by Smucker, Allan and
Carterette 2007), which only assumes that under the null hypothesis each query's difference has either sign with equal
probability. Reports call a difference significant by the randomization test, Holm-corrected over the benchmarks of a
suite (`suite.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

RESAMPLES = 20_000  # gives a p of .05 an error of +-.003 (two standard errors)
TIE = 1e-9  # smaller differences are rounding: sums of a few hundred terms err below 1e-12
_CELLS = 2_000_000  # of the matrix of signs held at a time: 16 MB


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of a system with a reference in one metric, over the queries of a benchmark.

    difference: mean over queries of system - reference.
    wins, ties, losses: the number of queries on which the system is better, equal (within 1e-9) and worse.
    p_randomization, p_t: two-sided p values. p_t is None if t is not defined: a single query, or the same difference
        other than 0 on every query.
    """

    difference: float
    wins: int
    ties: int
    losses: int
    p_randomization: float
    p_t: float | None


def compare(
    system: Sequence[float], reference: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compare a system with a reference in one metric, with paired significance tests.

    Args:
        system, reference: one value per query, in the same order of queries.
        resamples: the number of random sign flips of the randomization test.
        seed: the seed of the sign flips.

    Raises:
        ValueError: the lengths differ, or there are no queries.
    """
    if len(system) != len(reference):
        raise ValueError(f"{len(system)} values of the system and {len(reference)} of the reference: expected pairs")
    if not system:
        raise ValueError("no queries to compare: expected at least one")
    differences = np.asarray(system, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    differences[np.abs(differences) <= TIE] = 0.0
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(
        difference=math.fsum(differences) / len(differences),
        wins=wins,
        ties=len(differences) - wins - losses,
        losses=losses,
        p_randomization=randomization_test(differences, resamples=resamples, seed=seed),
        p_t=t_test(differences),
    )


def t_test(differences: Float[np.ndarray, " queries"]) -> float | None:
    """Compute the two-sided p of Student's paired t test.

    differences: [queries].

    Returns:
        p; 1 if all differences are 0; None if t is not defined (a single query, or all differences equal).
    """
    if not differences.any():
        return 1.0
    if len(differences) < 2 or np.ptp(differences) <= TIE:
        return None
    return float(stats.ttest_1samp(differences, 0.0).pvalue)  # type: ignore[union-attr]


def randomization_test(
    differences: Float[np.ndarray, " queries"], *, resamples: int = RESAMPLES, seed: int = 0
) -> float:
    """Compute the two-sided p of the paired randomization test.

    p is the share of sign flips of the differences whose mean is at least as far from 0 as the observed mean.

    With n differences other than 0, all 2^n sign flips are counted if there are at most `resamples`. Otherwise the test
    uses `resamples` random sign flips and the observed signs (Phipson and Smyth 2010), so p is never 0. Sums are
    compared with a margin for rounding. p equals that of `scipy.stats.permutation_test(permutation_type="samples")`,
    but no sorting is needed.

    Args:
        differences: [queries].
        resamples: the largest number of sign flips.
        seed: the seed of random sign flips.
    """
    moved = differences[differences != 0]
    n = len(moved)
    if n == 0:
        return 1.0
    observed = abs(moved.sum()) - 1e-12 * np.abs(moved).sum()
    at_once = max(1, _CELLS // n)
    if n < 64 and 2**n <= resamples:
        codes = np.arange(2**n)[:, None]
        signs = 1 - 2 * ((codes >> np.arange(n)) & 1)
        return float((np.abs(signs @ moved) >= observed).mean())
    rng = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, resamples, at_once):
        flips = rng.integers(0, 2, size=(min(at_once, resamples - start), n), dtype=np.int8)
        extreme += int((np.abs(moved.sum() - 2 * (flips @ moved)) >= observed).sum())
    return (extreme + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjust p values for multiple tests with Holm's step-down procedure. The order is kept.

    With p_(1) <= ... <= p_(m) the sorted values, adjusted p_(i) = min(1, max over j <= i of (m - j + 1) p_(j)).
    Calling values below .05 significant keeps the probability of any false claim among the m tests at or below .05 for
    any dependence between the tests. Holm, A simple sequentially rejective multiple test procedure, Scandinavian
    Journal of Statistics 6 (1979); in this form Wright, Adjusted p-values for simultaneous inference, Biometrics 48
    (1992).

    Raises:
        ValueError: a value lies outside [0, 1].
    """
    for p in p_values:
        if not 0 <= p <= 1:  # also NaN
            raise ValueError(f"p value {p}: expected a number in [0, 1]")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for i, index in enumerate(sorted(range(len(p_values)), key=lambda j: p_values[j])):
        largest = max(largest, min(1.0, (len(p_values) - i) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)
