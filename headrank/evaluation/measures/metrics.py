"""Ranking metrics per query: nDCG, MRR, MAP and recall (computed by ranx) and judged (ours), each at a cutoff.

A metric's name is its measure and cutoff: `ndcg@10`, `mrr@10`, `map@100`, `recall@100`, `judged@10`. What is measured
is a ranking's own order; scores are only checked. Definitions, k the cutoff:
- ndcg: linear gain, discount log2(rank + 1), the ideal order over all judged passages, candidates or not (trec_eval's
  ndcg_cut; Järvelin and Kekäläinen 2002). Grades below 0 gain 0.
- mrr: 1 / rank of the first relevant passage within k, else 0.
- map: mean over all relevant passages of the precision at their ranks, 0 for those beyond k (trec_eval's map_cut).
- recall: share of all relevant passages within k.
- judged [ours]: share of the first k ranked passages that have a grade, whatever it is; of all where fewer are ranked.
Relevant in mrr, map and recall means a grade >= the benchmark's relevance threshold.

Every query counts in the mean. One without ranked passages has 0 in all of them. One whose judgements hold no relevant
passage has 0 in ndcg, mrr, map and recall, as in trec_eval; leaving it out would make means incomparable.

Rank-based measures by ranx, which compiles them with numba: the one place that knows either.

ranx is handed arrays, not dicts of ids. From dicts it makes floats of Python's string hashes (other ones in every
process, 53 bits of 64) and orders passages by score with an unstable sort; in arrays a passage is its position in the
ranking, and the ranking's own order, ties broken, is what is measured.
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
    """A measure such as `ndcg@10` for every query.

    ranked: per query the grades of its ranked passages, best first; 0 for the unjudged ones.
    unranked: per query the grades of the judged passages that the ranking lacks. Ideal orders and recall need them.

    Grades below 1 count as not relevant. A query without a grade of 1 or more, or without ranked passages, has 0.
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
        # numba on ranx's parallel loops, when it compiles them: a loop counter's cast, of no consequence here
        warnings.simplefilter("ignore", harmless)
        # one thread: the work is small, and numba's threads would fight torch's for the cores
        # twice the same: ranx 0.3.21 loses a single measure with a cutoff where no mean is asked for (KeyError: 'ndcg')
        scores = evaluate(typed_list(qrels), typed_list(run), [measure, measure], return_mean=False, threads=1)
    return np.asarray(scores[measure], dtype=np.float64)


@cache
def _ranx() -> tuple[Callable[..., Any], Any, type[Warning]]:
    """ranx's `evaluate`, numba's typed list and the warning to ignore, imported late: together they take seconds."""
    _set_up_numba()
    from numba.core.errors import NumbaTypeSafetyWarning
    from numba.typed import List
    from ranx import evaluate

    return evaluate, List, NumbaTypeSafetyWarning


def _set_up_numba() -> None:
    """Have numba keep ranx's compiled code between processes (compiling takes half a minute), and leave torch's threads
    alone.

    A `NUMBA_CACHE_DIR` of the user's stays; numba's default lies next to ranx's sources, which may be read-only.
    numba's OpenMP layer sets the number of OpenMP threads, which torch shares. ranx asks for numba's own threads
    instead, but numba forgets that when it reads a changed environment, so the environment says it.
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
    """A measure at a cutoff (a rank, 1 or more)."""

    measure: str
    cutoff: int

    @classmethod
    def parse(cls, name: str) -> "Metric":
        """The metric of a name such as `ndcg@10`. Raises `ValueError` that lists what is known."""
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
    """Every metric for every query: metric name -> values in the order of `query_ids`, each in [0, 1].

    Rankings of other queries are not looked at (a run over all topics may be scored on a sample of them); a query of
    `query_ids` without a ranking has 0.

    Raises `ValueError` on an unknown metric, on no queries, a repeated query or one without judgements, on a threshold
    below 1, and on a ranking that belongs to another query, names a passage twice or has a NaN or infinite score.
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
    """Share of the passages that have a grade, whatever it is; 0 where there are no passages."""
    return sum(passage in grades for passage in passage_ids) / max(1, len(passage_ids))


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean over queries, summed without rounding error."""
    return math.fsum(values) / len(values)


def check_queries(query_ids: Sequence[str], qrels: Qrels) -> None:
    """Refuse no queries, a repeated one, and one without judgements (which no metric can score)."""
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
    """Refuse a threshold below 1: unjudged passages count as grade 0 and would be relevant."""
    if relevance_threshold < 1:
        raise ValueError(f"relevance threshold {relevance_threshold}; expected 1 or more")


def check_ranking(query_id: str, ranking: Ranking) -> None:
    """Refuse a ranking of another query, a repeated passage, and a NaN or infinite score (sorts would hide it)."""
    if ranking.query_id != query_id:
        raise ValueError(f"the ranking under query {query_id!r} belongs to query {ranking.query_id!r}")
    seen: set[str] = set()
    for result in ranking.results:
        if not math.isfinite(result.score):
            raise ValueError(
                f"query {query_id!r}, passage {result.id!r}: score {result.score}; expected a finite number"
            )
        if result.id in seen:
            raise ValueError(f"query {query_id!r}: passage {result.id!r} stands twice in the ranking")
        seen.add(result.id)


def _ranked_ids(rankings: Run, query_id: str) -> tuple[str, ...]:
    ranking = rankings.get(query_id)
    if ranking is None:
        return ()
    check_ranking(query_id, ranking)
    return ranking.passage_ids
