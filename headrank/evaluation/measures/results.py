"""The results of a benchmark as plain data. `metrics/<benchmark>.json` stores them without loss.

Values per query are kept, so means, tests and figures over one or several benchmarks need no rankings.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrank.evaluation.measures.middle_zone import Homogenization, MiddleZone
from headrank.evaluation.measures.probability import ProbabilityQuality, ReliabilityBin
from headrank.evaluation.measures.selectivity import Selectivity, ZoneCounts
from headrank.evaluation.measures.significance import Comparison

MAIN_SYSTEM = "headrank"
FIRST_STAGE_SYSTEM = "first stage"
UNALIGNED_SYSTEM = "zero-shot"
"""The main system before alignment: the same prompt and scorer on the original model, if an alignment is configured."""


@dataclass(frozen=True, slots=True)
class SystemResult:
    """The results of one system on one benchmark.

    means: metric -> mean over the queries.
    per_query: metric -> values in the order of the benchmark's `query_ids`.
    middle_zone, selectivity: measures of the middle zone; None if the system gives no scores in context order.
    comparisons: metric -> comparison with the benchmark's reference; empty for the reference itself.
    probability: the quality of the probabilities of relevance; None if the system gives none.
    """

    means: Mapping[str, float]
    per_query: Mapping[str, tuple[float, ...]]
    middle_zone: MiddleZone | None
    selectivity: Selectivity | None
    comparisons: Mapping[str, Comparison]
    probability: ProbabilityQuality | None = None


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """The results of all systems on one benchmark.

    name: the name of the benchmark.
    query_ids: the scored queries.
    metrics: names such as `ndcg@10`.
    relevance_threshold: the lowest grade that counts as relevant.
    reference: the name of the system with which all others are compared (the first stage).
    systems: name -> result.
    queries_without_relevant: the number of queries without a relevant passage; they count in every mean.
    queries_without_candidates: the number of queries without candidates from the reference; they count in every mean.
    """

    name: str
    query_ids: tuple[str, ...]
    metrics: tuple[str, ...]
    relevance_threshold: int
    reference: str
    systems: Mapping[str, SystemResult]
    queries_without_relevant: int = 0
    queries_without_candidates: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON. Tuples stay tuples, which JSON writes as lists."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "BenchmarkResult":
        """Make the result from the output of `to_dict`, also if it was stored as JSON.

        Raises:
            ValueError: a field is missing or has the wrong type.
        """
        try:
            rest = {key: content[key] for key in ("name", "relevance_threshold", "reference")}
            counts = {key: content[key] for key in ("queries_without_relevant", "queries_without_candidates")}
            return cls(
                query_ids=tuple(content["query_ids"]),
                metrics=tuple(content["metrics"]),
                systems={name: _system(system) for name, system in content["systems"].items()},
                **rest,
                **counts,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a benchmark's result: {type(error).__name__}: {error}") from error


def check_results(results: Sequence[BenchmarkResult]) -> None:
    """Check that results can share one report.

    Raises `ValueError` if there are no results, two share a name, or their metrics or references differ.
    """
    if not results:
        raise ValueError("expected the results of at least one benchmark, found none")
    names = [result.name for result in results]
    if len(set(names)) != len(names):
        raise ValueError(f"expected different benchmark names, found {', '.join(names)}")
    for result in results[1:]:
        if (result.metrics, result.reference) != (results[0].metrics, results[0].reference):
            raise ValueError(
                f"benchmark {result.name!r} has metrics {', '.join(result.metrics)}, reference {result.reference!r}, "
                f"{results[0].name!r} {', '.join(results[0].metrics)} and {results[0].reference!r}: expected the same"
            )


def system_names(results: Sequence[BenchmarkResult]) -> list[str]:
    """Return the names of all systems, in order of first appearance."""
    return list(dict.fromkeys(name for result in results for name in result.systems))


def measured_zones(results: Iterable[BenchmarkResult]) -> Iterator[tuple[str, str, MiddleZone]]:
    """Yield (benchmark, system, middle zone) for each system whose middle zone was measured on at least one list."""
    for result in results:
        for name, system in result.systems.items():
            if system.middle_zone is not None and system.middle_zone.lists:
                yield result.name, name, system.middle_zone


def _system(content: Mapping[str, Any]) -> SystemResult:
    zone, selected = content["middle_zone"], content["selectivity"]
    return SystemResult(
        means=dict(content["means"]),
        per_query={metric: tuple(values) for metric, values in content["per_query"].items()},
        middle_zone=None if zone is None else _middle_zone(zone),
        selectivity=None if selected is None else _selectivity(selected),
        comparisons={metric: Comparison(**values) for metric, values in content["comparisons"].items()},
        probability=_probability(content.get("probability")),
    )


def _probability(content: Mapping[str, Any] | None) -> ProbabilityQuality | None:
    if content is None:
        return None
    return ProbabilityQuality(**{**content, "bins": tuple(ReliabilityBin(**one) for one in content["bins"])})


def _middle_zone(content: Mapping[str, Any]) -> MiddleZone:
    return MiddleZone(
        zone=tuple(ZoneCounts(**counts) for counts in content["zone"]),
        positions=tuple(ZoneCounts(**counts) for counts in content["positions"]),
        position_intervals=tuple(_interval(pair) for pair in content["position_intervals"]),
        homogenization=Homogenization(**content["homogenization"]),
        lists=content["lists"],
        short_lists=content["short_lists"],
        per_list=tuple(Homogenization(**values) for values in content.get("per_list", ())),
        spread=tuple(tuple(values) for values in content.get("spread", ())),
    )


def _selectivity(content: Mapping[str, Any]) -> Selectivity:
    return Selectivity(**{**content, "interval": _interval(content["interval"])})


def _interval(content: Sequence[float] | None) -> tuple[float, float] | None:
    if content is None:
        return None
    low, high = content
    return low, high
