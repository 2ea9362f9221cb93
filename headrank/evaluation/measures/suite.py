"""Measures over a suite of benchmarks: paired comparisons of two systems, selectivity and homogenization.

Each comparison of two systems is a separate family of tests: its p values, one per benchmark, are Holm-corrected for
the number of benchmarks. Averages are macro means: every benchmark has the same weight, whatever its number of queries.

Selectivity and homogenization pool the candidate lists of all benchmarks. Intervals are percentile bootstraps over
queries, paired when two systems are compared. `selectivity.py` and `middle_zone.py` define the measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from headrank.evaluation.measures.bootstrap import Estimate, change_estimate, macro_estimate, mean_estimate
from headrank.evaluation.measures.metrics import mean
from headrank.evaluation.measures.middle_zone import HOMOGENIZATION, QUARTERS, MiddleZone
from headrank.evaluation.measures.results import BenchmarkResult, system_names
from headrank.evaluation.measures.selectivity import Selectivity, ZoneCounts, selectivity, selectivity_change
from headrank.evaluation.measures.significance import TIE, Comparison, compare, holm

MEASURES = ("selectivity", *HOMOGENIZATION)
"""Selectivity (a difference of shares) and the three measures of homogenization."""


@dataclass(frozen=True, slots=True)
class _Pooled:
    zones: tuple[MiddleZone, ...]

    def homogenization(self, measure: str) -> list[float | None]:
        return [getattr(one, measure) for zone in self.zones for one in zone.per_list]

    @property
    def counts(self) -> list[ZoneCounts]:
        return [counts for zone in self.zones for counts in zone.zone]


def pooled_selectivity(results: Sequence[BenchmarkResult]) -> dict[str, Selectivity]:
    """Compute the middle zone's selectivity over the pooled candidate lists of all benchmarks.

    Returns:
        System -> selectivity, for example `headrank` -> `Selectivity(...)`. Systems without a measured middle zone on
        every benchmark are absent.
    """
    pooled = {}
    for name in system_names(results):
        zones = [r.systems[name].middle_zone for r in results if name in r.systems]
        present = [zone for zone in zones if zone is not None]
        if len(present) == len(results):
            pooled[name] = selectivity([counts for zone in present for counts in zone.zone])
    return pooled


def zone_estimates(results: Sequence[BenchmarkResult], system: str) -> dict[str, Estimate]:
    """Compute the middle zone's measures of one system over the pooled candidate lists of all benchmarks.

    Args:
        results: one per benchmark.
        system: the name of the system.

    Returns:
        Name of `MEASURES` -> value with its interval, for example `selectivity` -> `Estimate(...)`. Undefined measures
        are absent. Empty if the middle zone was not measured on every benchmark.
    """
    pooled = _pool(results, system)
    if pooled is None:
        return {}
    found = selectivity(pooled.counts)
    estimates: dict[str, Estimate | None] = {
        measure: mean_estimate(pooled.homogenization(measure)) for measure in HOMOGENIZATION
    }
    if found.difference is not None:
        estimates["selectivity"] = Estimate(found.difference, found.interval, len(pooled.counts))
    return {measure: e for measure in MEASURES if (e := estimates.get(measure)) is not None}


def zone_changes(results: Sequence[BenchmarkResult], before: str, after: str) -> dict[str, Estimate]:
    """Compute how selectivity and homogenization of the middle zone change from the system `before` to `after`.

    `middle_zone.py` defines the zone and the measures. The candidate lists of all benchmarks are pooled. Both systems
    must read the same lists in the same context order; only the number of lists is checked.

    Args:
        results: one per benchmark.
        before: the name of the first system.
        after: the name of the second system.

    Returns:
        Name of `MEASURES` -> change with its interval, for example `selectivity` -> `Estimate(...)`. Undefined changes
        are absent. Empty if either system's middle zone was not measured on every benchmark, or the numbers of lists
        differ.
    """
    first, second = _pool(results, before), _pool(results, after)
    if first is None or second is None or len(first.counts) != len(second.counts):
        return {}
    changes = {"selectivity": selectivity_change(first.counts, second.counts)}
    changes |= {
        measure: change_estimate(first.homogenization(measure), second.homogenization(measure))
        for measure in HOMOGENIZATION
    }
    return {measure: e for measure, e in changes.items() if e is not None}


def spread_estimates(results: Sequence[BenchmarkResult], system: str) -> list[Estimate | None]:
    """Average the relative spread of scores in each quarter of the context (`spread_by_quarter`) over all lists.

    Args:
        results: one per benchmark.
        system: the name of the system.

    Returns:
        One mean with its interval per quarter, from first to last; None for a quarter without values. Empty if the
        system's middle zone was not measured on every benchmark.
    """
    pooled = _pool(results, system)
    lists = [] if pooled is None else [spread for zone in pooled.zones for spread in zone.spread]
    return [mean_estimate([spread[quarter] for spread in lists]) for quarter in range(QUARTERS)] if lists else []


def metric_estimate(results: Sequence[BenchmarkResult], system: str, metric: str) -> Estimate | None:
    """Compute a metric's macro mean over benchmarks with its interval.

    The result is None if `system` was not measured on every benchmark.
    """
    values = [r.systems[system].per_query[metric] for r in results if system in r.systems]
    if len(values) < len(results):
        return None
    return macro_estimate(values)


def _pool(results: Sequence[BenchmarkResult], system: str) -> _Pooled | None:
    found = [r.systems[system].middle_zone for r in results if system in r.systems]
    zones = tuple(zone for zone in found if zone is not None and zone.lists)
    return _Pooled(zones) if zones and len(zones) == len(results) else None


SIGNIFICANT = 0.05  # significance level of a corrected p value


class Tally(NamedTuple):
    """The number of wins, ties and losses of a system."""

    won: int
    tied: int
    lost: int


@dataclass(frozen=True, slots=True)
class BenchmarkComparison:
    """The comparison of two systems on one benchmark of a suite.

    benchmark: the name of the benchmark.
    before: the mean of the system that is compared against.
    after: the mean of the system.
    test: the paired comparison.
    p_holm: the p of its randomization test, Holm-corrected for the number of benchmarks.
    queries: the number of queries.
    """

    benchmark: str
    before: float
    after: float
    test: Comparison
    p_holm: float
    queries: int

    @property
    def significant(self) -> bool:
        """Whether the corrected p is below `SIGNIFICANT`."""
        return self.p_holm < SIGNIFICANT


@dataclass(frozen=True, slots=True)
class SuiteComparison:
    """The comparison of a system with another one in one metric, over several benchmarks.

    system: the name of the system.
    against: the name of the system that it is compared against.
    metric: the metric.
    parts: one comparison per benchmark that has results of both.
    """

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
        """The number of benchmarks that `system` wins, ties and loses, by the means."""
        signs = [0 if abs(d := part.test.difference) <= TIE else (1 if d > 0 else -1) for part in self.parts]
        return Tally(signs.count(1), signs.count(0), signs.count(-1))

    @property
    def significant(self) -> Tally:
        """The number of benchmarks won significantly, without a significant difference, and lost significantly."""
        sure = [part.test.difference for part in self.parts if part.significant]
        won, lost = sum(d > 0 for d in sure), sum(d < 0 for d in sure)
        return Tally(won, len(self.parts) - won - lost, lost)

    @property
    def queries(self) -> Tally:
        """The number of queries that `system` wins, ties and loses, over all benchmarks."""
        return Tally(
            sum(part.test.wins for part in self.parts),
            sum(part.test.ties for part in self.parts),
            sum(part.test.losses for part in self.parts),
        )


def compare_systems(
    results: Sequence[BenchmarkResult], metric: str, system: str, against: str
) -> SuiteComparison | None:
    """Compare two systems in one metric on every benchmark that has both.

    Args:
        results: one per benchmark.
        metric: the metric, such as `ndcg@10`.
        system: the name of the system.
        against: the name of the system that it is compared against.

    Returns:
        The comparison, with p values Holm-corrected for the number of these benchmarks; None without such benchmarks,
        or if both names are the same.
    """
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
