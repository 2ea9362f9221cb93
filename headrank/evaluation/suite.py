"""A system against another over a suite: benchmark by benchmark, Holm-corrected, and on average.

Each comparison of two systems is a family of its own: its p values, one per benchmark, are corrected for the number of
benchmarks. Averages over a suite are macro means: every benchmark counts the same, however many queries it has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from headrank.evaluation.metrics import mean
from headrank.evaluation.results import BenchmarkResult
from headrank.evaluation.significance import TIE, Comparison, compare, holm

SIGNIFICANT = 0.05  # the level at which a corrected p value is called significant


class Tally(NamedTuple):
    """How often a system was better, the same, worse."""

    won: int
    tied: int
    lost: int


@dataclass(frozen=True, slots=True)
class BenchmarkComparison:
    """One benchmark of a suite's comparison: both systems' means, the paired test, its p corrected over the suite."""

    benchmark: str
    before: float
    after: float
    test: Comparison
    p_holm: float
    queries: int

    @property
    def significant(self) -> bool:
        """Whether the difference is called significant."""
        return self.p_holm < SIGNIFICANT


@dataclass(frozen=True, slots=True)
class SuiteComparison:
    """A system against another (`against`) in one metric, on every benchmark that has both, in the results' order."""

    system: str
    against: str
    metric: str
    parts: tuple[BenchmarkComparison, ...]

    @property
    def before(self) -> float:
        """The macro mean of `against` over the benchmarks."""
        return mean([part.before for part in self.parts])

    @property
    def after(self) -> float:
        """The macro mean of `system` over the benchmarks."""
        return mean([part.after for part in self.parts])

    @property
    def benchmarks(self) -> Tally:
        """Benchmarks won, tied and lost, by their means."""
        signs = [0 if abs(d := part.test.difference) <= TIE else (1 if d > 0 else -1) for part in self.parts]
        return Tally(signs.count(1), signs.count(0), signs.count(-1))

    @property
    def significant(self) -> Tally:
        """Benchmarks significantly won, undecided, and significantly lost."""
        sure = [part.test.difference for part in self.parts if part.significant]
        won, lost = sum(d > 0 for d in sure), sum(d < 0 for d in sure)
        return Tally(won, len(self.parts) - won - lost, lost)

    @property
    def queries(self) -> Tally:
        """Queries won, tied and lost over all benchmarks."""
        return Tally(
            sum(part.test.wins for part in self.parts),
            sum(part.test.ties for part in self.parts),
            sum(part.test.losses for part in self.parts),
        )


def compare_systems(
    results: Sequence[BenchmarkResult], metric: str, system: str, against: str
) -> SuiteComparison | None:
    """Compare two systems over the benchmarks that have both; None where none has, or the two are one."""
    both = [result for result in results if system in result.systems and against in result.systems]
    if not both or system == against:
        return None
    tests = [_test(result, metric, system, against) for result in both]
    adjusted = holm([test.p_randomization for test in tests])
    parts = tuple(
        BenchmarkComparison(
            benchmark=result.name,
            before=result.systems[against].means[metric],
            after=result.systems[system].means[metric],
            test=test,
            p_holm=p,
            queries=len(result.query_ids),
        )
        for result, test, p in zip(both, tests, adjusted, strict=True)
    )
    return SuiteComparison(system, against, metric, parts)


def _test(result: BenchmarkResult, metric: str, system: str, against: str) -> Comparison:
    if against == result.reference:
        return result.systems[system].comparisons[metric]
    return compare(result.systems[system].per_query[metric], result.systems[against].per_query[metric])
