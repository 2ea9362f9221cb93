"""Compute ranking metrics per query: nDCG, MRR, MAP and recall (with ranx) and judged (ours), each at a cutoff.

A metric is named by its measure and cutoff: `ndcg@10`, `mrr@10`, `map@100`, `recall@100`, `judged@10`. Metrics use
the order of a ranking; its scores are only checked. Definitions, with cutoff k:
- ndcg: linear gain, discount log2(rank + 1), the ideal order over all judged passages, candidates or not (trec_eval's
  ndcg_cut; Järvelin and Kekäläinen 2002). Grades below 0 gain 0.
- mrr: 1 / rank of the first relevant passage within k, else 0.
- map: mean over all relevant passages of the precision at their ranks, 0 beyond rank k (trec_eval's map_cut).
- recall: share of all relevant passages within k.
- judged [ours]: share of the first k ranked passages that have any grade; of all passages if fewer are ranked.
Relevant in mrr, map and recall means a grade >= the benchmark's relevance threshold.

Every query counts in the mean. A query without ranked passages has 0 in all metrics. A query without any relevant
passage in its judgements has 0 in ndcg, mrr, map and recall, as in trec_eval; leaving it out would make means
incomparable.

ranx computes the rank-based measures and compiles them with numba. Only this module uses either.

ranx receives arrays, not dicts of ids. From dicts it would make floats of Python's string hashes (different in every
process, 53 of 64 bits) and sort passages by score with an unstable sort. In the arrays a passage is its position in the
ranking, so the metrics use the ranking's order with ties already broken.
"""

import math
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from headrank.evaluation.measures.compiled_cache import compiled_code_folder
from headrank.ranking import Qrels, Ranking, Run


def ranx_scores(
    measure: str, ranked: Sequence[Sequence[int]], unranked: Sequence[Sequence[int]]
) -> Float[np.ndarray, " queries"]:
    """Compute a measure such as `ndcg@10` with ranx for every query.

    Args:
        measure: measure and cutoff in ranx's notation.
        ranked: for each query, the grades of its ranked passages, best passage first; 0 for unjudged passages.
        unranked: for each query, the grades of the judged passages that are not in the ranking. They count in the ideal
            order and in recall.

    Returns:
        One value per query. Grades below 1 count as not relevant. A query without a grade of 1 or more, or without
        ranked passages, has 0.
    """
    if not ranked:
        return np.zeros(0)
    run, qrels = [], []
    for grades, others in zip(ranked, unranked, strict=True):
        run.append(np.array([[i, -i] for i in range(len(grades))], dtype=np.float64).reshape(-1, 2))  # id, score
        judged = [(grade, i) for i, grade in enumerate([*grades, *others]) if grade > 0]
        judged.sort(reverse=True)  # ranx reads the ideal order off this array's order
        qrels.append(np.array([[i, grade] for grade, i in judged], dtype=np.float64).reshape(-1, 2))
    evaluate, typed_list, harmless = _ranx()
    with warnings.catch_warnings():
        # numba warns about the cast of a loop counter when it compiles ranx's parallel loops; harmless
        warnings.simplefilter("ignore", harmless)
        # one thread: the work is small, and numba's threads would compete with torch's
        # the measure twice: without a mean, ranx 0.3.21 fails on a single measure with a cutoff (KeyError: 'ndcg')
        scores = evaluate(typed_list(qrels), typed_list(run), [measure, measure], return_mean=False, threads=1)
    return np.asarray(scores[measure], dtype=np.float64)


@cache
def _ranx() -> tuple[Callable[..., Any], Any, type[Warning]]:
    """ranx's `evaluate`, numba's typed list and the warning to ignore. Imported lazily: the imports take seconds."""
    _set_up_numba()
    from numba.core.errors import NumbaTypeSafetyWarning
    from numba.typed import List
    from ranx import evaluate

    return evaluate, List, NumbaTypeSafetyWarning


def _set_up_numba() -> None:
    """Make numba cache ranx's compiled code across processes, and keep it from changing torch's threads.

    Compiling takes half a minute. A `NUMBA_CACHE_DIR` set by the user is kept; numba's default lies next to ranx's
    sources, which may be read-only. numba's OpenMP layer sets the number of OpenMP threads, which torch shares. ranx
    selects numba's `workqueue` threads instead, but numba drops that choice when it reads a changed environment, so the
    choice is set in the environment.
    """
    changed = {"THREADING_LAYER": "workqueue"}
    if not os.environ.get("NUMBA_CACHE_DIR"):
        changed["CACHE_DIR"] = str(compiled_code_folder())
    for name, value in changed.items():
        os.environ[f"NUMBA_{name}"] = value  # read when numba is imported, and again when it compiles
    if "numba" in sys.modules:  # bm25s imports it
        from numba.core import config

        for name, value in changed.items():
            setattr(config, name, value)


MEASURES = ("ndcg", "mrr", "map", "recall", "judged")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: a measure at a cutoff, such as `ndcg@10`.

    measure: one of `MEASURES`.
    cutoff: the number of top ranks that count, 1 or more.
    """

    measure: str
    cutoff: int

    @classmethod
    def parse(cls, name: str) -> "Metric":
        """Parse a name such as `ndcg@10`.

        Raises:
            ValueError: the name is no known measure with a cutoff.
        """
        measure, _, cutoff = name.partition("@")
        # str() gives one spelling: `ndcg@010` and `ndcg@10` would be two columns of the same numbers
        if measure not in MEASURES or not cutoff.isdecimal() or str(int(cutoff)) != cutoff or cutoff == "0":
            known = ", ".join(f"{measure}@k" for measure in MEASURES)
            raise ValueError(f"unknown metric {name!r}; expected one of {known}, with k a rank from 1, such as ndcg@10")
        return cls(measure, int(cutoff))

    @property
    def label(self) -> str:
        """The name as papers write it: `nDCG@10`, `Recall@100`."""
        written = {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP"}.get(self.measure, self.measure.capitalize())
        return f"{written}@{self.cutoff}"


def score_queries(
    rankings: Run,
    qrels: Qrels,
    *,
    query_ids: Sequence[str],
    metrics: Sequence[str],
    relevance_threshold: int = 1,
) -> dict[str, tuple[float, ...]]:
    """Compute every metric for every query.

    Args:
        rankings: query id -> ranking. Rankings of other queries are ignored; a query without a ranking has 0.
        qrels: query id -> passage id -> grade.
        query_ids: the queries to score, all of them judged.
        metrics: names such as `ndcg@10`.
        relevance_threshold: the lowest grade that counts as relevant in mrr, map and recall.

    Returns:
        Metric name -> one value in [0, 1] per query, in the order of `query_ids`.

    Raises:
        ValueError: an unknown metric; no queries, a repeated query or a query without judgements; a threshold below 1;
            a ranking that belongs to another query, contains a passage twice or has a score that is not finite.
    """
    parsed = {name: Metric.parse(name) for name in metrics}
    check_queries(query_ids, qrels)
    check_threshold(relevance_threshold)
    found = [_ranked_ids(rankings, query_id) for query_id in query_ids]
    judged = [qrels[query_id] for query_id in query_ids]
    graded = [[grades.get(passage, 0) for passage in ids] for ids, grades in zip(found, judged, strict=True)]
    unranked = [
        [grade for passage, grade in grades.items() if passage not in ids]
        for ids, grades in zip(map(frozenset, found), judged, strict=True)
    ]
    binary, binary_unranked = (
        [[int(grade >= relevance_threshold) for grade in grades] for grades in lists] for lists in (graded, unranked)
    )
    values: dict[str, tuple[float, ...]] = {}
    for name, metric in parsed.items():
        if metric.measure == "judged":
            values[name] = tuple(
                judged_share(ids[: metric.cutoff], grades) for ids, grades in zip(found, judged, strict=True)
            )
        elif metric.measure == "ndcg":
            values[name] = tuple(ranx_scores(name, graded, unranked).tolist())
        else:
            values[name] = tuple(ranx_scores(name, binary, binary_unranked).tolist())
    return values


def judged_share(passage_ids: Sequence[str], grades: Mapping[str, int]) -> float:
    """Return the share of the passages that have an entry in `grades`. Without passages it is 0.

    Args:
        passage_ids: the passages.
        grades: passage id -> grade, for judged passages only.
    """
    return sum(passage in grades for passage in passage_ids) / max(1, len(passage_ids))


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean over queries, summed without rounding error."""
    return math.fsum(values) / len(values)


def check_queries(query_ids: Sequence[str], qrels: Qrels) -> None:
    """Check the queries to score.

    Args:
        query_ids: the queries.
        qrels: query id -> passage id -> grade.

    Raises:
        ValueError: there are no queries, a query is repeated, or a query has no judgements.
    """
    if not query_ids:
        raise ValueError("no queries to score; expected at least one judged query id")
    seen: set[str] = set()
    for query_id in query_ids:
        if query_id in seen:
            raise ValueError(f"query {query_id!r} is given twice among the queries to score")
        if not qrels.get(query_id):
            raise ValueError(f"query {query_id!r} has no judgement in the qrels; expected judged queries only")
        seen.add(query_id)


def check_threshold(relevance_threshold: int) -> None:
    """Check the relevance threshold.

    Raises:
        ValueError: the threshold is below 1. Unjudged passages count as grade 0 and would be relevant.
    """
    if relevance_threshold < 1:
        raise ValueError(f"relevance threshold {relevance_threshold}; expected 1 or more")


def check_ranking(query_id: str, ranking: Ranking) -> None:
    """Check a ranking.

    Args:
        query_id: the query that the ranking should belong to.
        ranking: the ranking.

    Raises:
        ValueError: it belongs to another query, contains a passage twice, or has a score that is not finite (sorting
            would hide it).
    """
    if ranking.query_id != query_id:
        raise ValueError(f"the ranking under query {query_id!r} belongs to query {ranking.query_id!r}")
    seen: set[str] = set()
    for result in ranking.results:
        if not math.isfinite(result.score):
            raise ValueError(
                f"query {query_id!r}, passage {result.id!r}: score {result.score}; expected a finite number"
            )
        if result.id in seen:
            raise ValueError(f"query {query_id!r}: passage {result.id!r} appears twice in the ranking")
        seen.add(result.id)


def _ranked_ids(rankings: Run, query_id: str) -> tuple[str, ...]:
    ranking = rankings.get(query_id)
    if ranking is None:
        return ()
    check_ranking(query_id, ranking)
    return ranking.passage_ids
