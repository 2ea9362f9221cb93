"""Score the rankings of several systems on a benchmark.

result = score_benchmark("dl20", {"first stage": SystemRun(bm25), "headrank": SystemRun(run, contexts)}, qrels,
                         query_ids=ids, relevance_threshold=2, reference="first stage", metrics=["ndcg@10"])
result.systems["headrank"].means["ndcg@10"]
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrank.evaluation.measures.metrics import mean, score_queries
from headrank.evaluation.measures.middle_zone import MiddleZone, measure_middle_zone
from headrank.evaluation.measures.probability import ProbabilityQuality, measure_probabilities
from headrank.evaluation.measures.results import BenchmarkResult, SystemResult
from headrank.evaluation.measures.selectivity import Selectivity, selectivity
from headrank.evaluation.measures.significance import compare
from headrank.ranking import ContextScores, Qrels, Run


@dataclass(frozen=True, slots=True)
class SystemRun:
    """The output of a system on a benchmark.

    rankings: query id -> ranking.
    contexts: scores in context order, one entry per query, for the middle zone; empty if the system gives none.
    probabilities: query id -> passage id -> probability of relevance; empty if the system gives none.
    probability_origin: the labelled data on which the probabilities were fitted, as text.
    """

    rankings: Run
    contexts: tuple[ContextScores, ...] = ()
    probabilities: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    probability_origin: str = ""


def score_benchmark(
    name: str,
    systems: Mapping[str, SystemRun],
    qrels: Qrels,
    *,
    query_ids: Sequence[str],
    relevance_threshold: int = 1,
    reference: str,
    metrics: Sequence[str],
    seed: int = 0,
) -> BenchmarkResult:
    """Score every system: metrics, middle zone, quality of probabilities, and the comparison with the reference.

    Args:
        name: the name of the benchmark.
        systems: name of the system -> its output.
        qrels: query id -> passage id -> grade.
        query_ids: the judged queries. All count in every mean; rankings and contexts of other queries are ignored.
        relevance_threshold: the lowest grade that counts as relevant in mrr, map, recall and in the middle zone.
        reference: the name of the system with which all others are compared.
        metrics: names such as `ndcg@10`.
        seed: the seed of the bootstrap and the randomization test; the same seed gives the same result.

    Raises:
        ValueError: the reference is not among the systems, metrics are missing or repeated, or `score_queries`,
            `measure_middle_zone` or `measure_probabilities` raises. The message names benchmark and system.
    """
    if reference not in systems:
        raise ValueError(
            f"benchmark {name!r}: the reference {reference!r} is not among the systems {', '.join(systems)}"
        )
    if not metrics or len(set(metrics)) != len(metrics):
        raise ValueError(f"benchmark {name!r}: metrics are {list(metrics)}, expected at least one and none twice")
    values: dict[str, dict[str, tuple[float, ...]]] = {}
    zones: dict[str, tuple[MiddleZone, Selectivity] | None] = {}
    probabilities: dict[str, ProbabilityQuality | None] = {}
    for system, run in systems.items():
        try:
            values[system] = score_queries(
                run.rankings, qrels, query_ids=query_ids, metrics=metrics, relevance_threshold=relevance_threshold
            )
            zones[system] = _middle_zone(run, qrels, frozenset(query_ids), relevance_threshold, seed)
            probabilities[system] = measure_probabilities(
                run.probabilities,
                qrels,
                query_ids=query_ids,
                relevance_threshold=relevance_threshold,
                origin=run.probability_origin,
            )
        except ValueError as error:
            raise ValueError(f"benchmark {name!r}, system {system!r}: {error}") from error
    results = {}
    for system, measured in values.items():
        zone = zones[system]
        others = {} if system == reference else values[reference]
        results[system] = SystemResult(
            means={metric: mean(measured[metric]) for metric in metrics},
            per_query=measured,
            middle_zone=zone[0] if zone else None,
            selectivity=zone[1] if zone else None,
            comparisons={metric: compare(measured[metric], others[metric], seed=seed) for metric in others},
            probability=probabilities[system],
        )
    candidates = systems[reference].rankings
    return BenchmarkResult(
        name=name,
        query_ids=tuple(query_ids),
        metrics=tuple(metrics),
        relevance_threshold=relevance_threshold,
        reference=reference,
        systems=results,
        queries_without_relevant=sum(max(qrels[q].values()) < relevance_threshold for q in query_ids),
        queries_without_candidates=sum(q not in candidates or not len(candidates[q]) for q in query_ids),
    )


def _middle_zone(
    run: SystemRun, qrels: Qrels, query_ids: frozenset[str], threshold: int, seed: int
) -> tuple[MiddleZone, Selectivity] | None:
    contexts = [context for context in run.contexts if context.query_id in query_ids]
    if not contexts:
        return None
    zone = measure_middle_zone(contexts, run.rankings, qrels, relevance_threshold=threshold, seed=seed)
    return zone, selectivity(zone.zone, seed=seed)
