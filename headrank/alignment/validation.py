"""Validation of alignment: collects the ranking of each held-out query and scores all of them once an epoch.

Measures are not averaged over batches. The queries of all processes are gathered, each query counts once, and
`headrank.evaluation` scores them. The ideal order uses only the grades of the list's candidates, so nDCG is higher here
than on a benchmark, whose ideal order includes relevant passages that the first stage missed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from headrank.data.labelled import LabelledList
from headrank.evaluation import mean, measure_middle_zone, score_queries
from headrank.evaluation.measures.selectivity import selectivity
from headrank.model.fusion import fuse_first_stage
from headrank.ranking import ContextScores, Ranking

METRIC = "ndcg@10"
HELD_OUT = "held_out_scores"  # the entry of a checkpoint for fits on the scores of its validation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ValidationRecord:
    """A held-out query after ranking.

    ranking: the passages by score.
    context: the passages, scores and attention masses in context order.
    grades: passage id -> grade.
    """

    ranking: Ranking
    context: ContextScores
    grades: dict[str, int]
    relevance_threshold: int = 1  # the threshold of the query's data set
    unfused: tuple[float, ...] = ()  # z in first-stage order, before the first stage was added

    @classmethod
    def from_scores(
        cls, one: LabelledList, z: Float[Tensor, " docs"], masses: Float[Tensor, " docs"], *, fusion: float = 0.0
    ) -> "ValidationRecord":
        """Create the record of a list.

        Args:
            one: the labelled list.
            z: [docs], passage scores in context order.
            masses: [docs], attention mass on each passage, summed over the heads, in context order.
            fusion: the weight of the first stage; 0: no fusion.

        Raises:
            ValueError: a score is NaN or infinite; the message names query and passage.
        """
        ids = one.item.passage_ids
        by_candidate = torch.empty(len(ids))
        by_candidate[torch.tensor(one.order, dtype=torch.long)] = z.detach().float().cpu()
        unfused, query_id = by_candidate.tolist(), one.item.query.id
        Ranking.from_scores(query_id, ids, unfused)  # raises for NaN, which fusion would hide
        scores = fuse_first_stage(by_candidate, fusion).tolist() if fusion else unfused
        context = ContextScores(
            query_id,
            tuple(ids[i] for i in one.order),
            tuple(scores[i] for i in one.order),
            tuple(masses.detach().float().cpu().tolist()),
        )
        grades = dict(zip(ids, one.grades, strict=True))
        return cls(Ranking.from_scores(query_id, ids, scores), context, grades, one.relevance_threshold, tuple(unfused))


def measure(records: Iterable[ValidationRecord]) -> dict[str, float]:
    """Compute the validation measures over the queries of all records.

    Args:
        records: one per query; a repeated query counts once. A passage is relevant if its grade reaches the record's
            threshold.

    Returns:
        Name -> value: `ndcg@10`, the mean over queries, and `selectivity`, in [-1, 1], if the middle zone holds
        relevant and irrelevant passages. Empty without records.

    Raises:
        ValueError: lists with the same query id have different passages.
    """
    by_id: dict[str, ValidationRecord] = {}
    for record in records:
        kept = by_id.setdefault(record.ranking.query_id, record)
        if kept.grades != record.grades:
            raise ValueError(f"validation query {record.ranking.query_id!r} has lists of different passages")
    if not by_id:
        return {}
    ids = sorted(by_id)  # the same order for any number of processes
    qrels = {query_id: by_id[query_id].grades for query_id in ids}
    rankings = {query_id: by_id[query_id].ranking for query_id in ids}
    values = {METRIC: mean(score_queries(rankings, qrels, query_ids=ids, metrics=[METRIC])[METRIC])}
    contexts = [by_id[query_id].context for query_id in ids]
    relevant = {
        query_id: {
            passage_id: int(grade >= by_id[query_id].relevance_threshold) for passage_id, grade in judged.items()
        }
        for query_id, judged in qrels.items()
    }
    zone = measure_middle_zone(contexts, rankings, relevant, relevance_threshold=1)
    difference = selectivity(zone.zone).difference
    return values if difference is None else values | {"selectivity": difference}


def held_out_scores(records: Iterable[ValidationRecord]) -> list[tuple[list[float], list[int], int]]:
    """Return the scores and grades of held-out passages, on which probabilities and the fusion weight are fitted.

    Args:
        records: one per query; a repeated query counts once.

    Returns:
        For each held-out candidate list, by query id: the values of a `ScoredLabels`, as plain values for a checkpoint.
    """
    by_id = {record.ranking.query_id: record for record in records}
    return [
        (list(record.unfused), list(record.grades.values()), record.relevance_threshold)
        for _, record in sorted(by_id.items())
    ]


def gather(objects: Sequence[T]) -> list[list[T]]:
    """Collect the objects of every process. Every rank must call this function.

    Args:
        objects: the objects of this process; must be picklable.

    Returns:
        The objects of each rank, in rank order; without distributed training, only those of this process.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return [list(objects)]
    parts: list[list[T]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(parts, list(objects))
    return parts
