"""Selectivity and homogenization of a system over the lists of all benchmarks, and what changes between two systems.

Lists are pooled over benchmarks; intervals are percentile bootstraps over queries, paired where two systems are set
against each other. The measures' definitions are in selectivity.py and homogenization.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headrank.evaluation.bootstrap import Estimate, change_estimate, macro_estimate, mean_estimate
from headrank.evaluation.homogenization import PLACES
from headrank.evaluation.middle_zone import MiddleZone
from headrank.evaluation.results import BenchmarkResult
from headrank.evaluation.selectivity import ZoneCounts, selectivity, selectivity_change

ALIKE = ("deviation", "entropy", "nearly_equal")
MEASURES = ("selectivity", *ALIKE)
"""Selectivity (a difference of shares) and the three measures of homogenization."""


@dataclass(frozen=True, slots=True)
class _Pooled:
    zones: tuple[MiddleZone, ...]

    def alike(self, measure: str) -> list[float | None]:
        return [getattr(one, measure) for zone in self.zones for one in zone.per_list]

    @property
    def counts(self) -> list[ZoneCounts]:
        return [counts for zone in self.zones for counts in zone.zone]


def zone_estimates(results: Sequence[BenchmarkResult], system: str) -> dict[str, Estimate]:
    """Each measure with its interval, for those that the system has on every benchmark."""
    pooled = _pool(results, system)
    if pooled is None:
        return {}
    found = selectivity(pooled.counts)
    estimates: dict[str, Estimate | None] = {measure: mean_estimate(pooled.alike(measure)) for measure in ALIKE}
    if found.difference is not None:
        estimates["selectivity"] = Estimate(found.difference, found.interval, len(pooled.counts))
    return {measure: e for measure in MEASURES if (e := estimates.get(measure)) is not None}


def zone_changes(results: Sequence[BenchmarkResult], before: str, after: str) -> dict[str, Estimate]:
    """Each measure's change from one system to another that read the same lists in the same context order."""
    first, second = _pool(results, before), _pool(results, after)
    if first is None or second is None or len(first.counts) != len(second.counts):
        return {}
    changes = {"selectivity": selectivity_change(first.counts, second.counts)}
    changes |= {measure: change_estimate(first.alike(measure), second.alike(measure)) for measure in ALIKE}
    return {measure: e for measure, e in changes.items() if e is not None}


def spread_estimates(results: Sequence[BenchmarkResult], system: str) -> list[Estimate | None]:
    """The spread of scores in each quarter of the context (`spread_by_place`), first quarter first; [] where the
    system was not measured on every benchmark."""
    pooled = _pool(results, system)
    lists = [] if pooled is None else [spread for zone in pooled.zones for spread in zone.spread]
    return [mean_estimate([spread[place] for spread in lists]) for place in range(PLACES)] if lists else []


def metric_estimate(results: Sequence[BenchmarkResult], system: str, metric: str) -> Estimate | None:
    """The macro mean over the benchmarks, queries resampled within each; None if the system is missing on one."""
    values = [r.systems[system].per_query[metric] for r in results if system in r.systems]
    if len(values) < len(results):
        return None
    return macro_estimate(values)


def _pool(results: Sequence[BenchmarkResult], system: str) -> _Pooled | None:
    found = [r.systems[system].middle_zone for r in results if system in r.systems]
    zones = tuple(zone for zone in found if zone is not None and zone.lists)
    return _Pooled(zones) if zones and len(zones) == len(results) else None
