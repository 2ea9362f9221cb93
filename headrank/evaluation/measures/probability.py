"""Measure how well probabilities of relevance agree with judgements: Brier score and expected calibration error.

All candidates of all queries count equally; unjudged candidates count as irrelevant, as in the other measures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headrank.ranking import Qrels

BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """A bin of a reliability diagram: number of passages, their mean probability, and the share that is relevant."""

    passages: int
    predicted: float
    relevant: float


@dataclass(frozen=True, slots=True)
class ProbabilityQuality:
    """How well a system's probabilities agree with the judgements of a benchmark.

    brier: mean of (P - y)^2 over the passages, where y is 1 for a relevant passage and 0 otherwise (Brier 1950); 0 is
        perfect.
    error: the expected calibration error sum_b n_b / n |mean P in b - share of relevant in b| (Naeini et al. 2015),
        over bins b with equal numbers of passages (Nguyen and O'Connor 2015), so that no bin rests on a few passages.
    predicted, relevant: the mean probability, and the share of relevant passages, over all passages.
    passages: the number of passages of all queries.
    bins: in order of rising probability; at most `BINS`, because equal probabilities share a bin.
    origin: the labelled data that the probabilities were fitted on.
    """

    brier: float
    error: float
    predicted: float
    relevant: float
    passages: int
    bins: tuple[ReliabilityBin, ...]
    origin: str = ""

    @property
    def constant_brier(self) -> float:
        """The Brier score of a system that gives every passage the same probability p.

        p is the share of relevant passages, the best constant probability; its Brier score is p (1 - p).
        """
        return self.relevant * (1 - self.relevant)


def measure_probabilities(
    probabilities: Mapping[str, Mapping[str, float]],
    qrels: Qrels,
    *,
    query_ids: Sequence[str],
    relevance_threshold: int = 1,
    origin: str = "",
) -> ProbabilityQuality | None:
    """Measure how well probabilities of relevance agree with the judgements of a benchmark.

    Args:
        probabilities: query id -> passage id -> probability. Other queries than `query_ids` are ignored.
        qrels: query id -> passage id -> grade.
        query_ids: the judged queries; a query without probabilities is left out.
        relevance_threshold: the lowest grade that counts as relevant.
        origin: the labelled data that the probabilities were fitted on, as text.

    Returns:
        The measures; None if no query has probabilities.

    Raises:
        ValueError: a probability is outside [0, 1].
    """
    pairs = []
    for query_id in query_ids:
        for passage_id, value in probabilities.get(query_id, {}).items():
            if not 0 <= value <= 1:
                raise ValueError(f"query {query_id!r}, passage {passage_id!r}: probability {value}; expected 0 to 1")
            pairs.append((value, qrels[query_id].get(passage_id, 0) >= relevance_threshold))
    if not pairs:
        return None
    p, y = np.array(sorted(pairs), dtype=np.float64).T
    starts = np.unique(np.searchsorted(p, p[[i * len(p) // BINS for i in range(BINS)]]))  # of tied values the first
    bins = tuple(
        ReliabilityBin(len(part), float(part.mean()), float(labels.mean()))
        for part, labels in zip(np.split(p, starts[1:]), np.split(y, starts[1:]), strict=True)
    )
    return ProbabilityQuality(
        brier=float(((p - y) ** 2).mean()),
        error=sum(one.passages * abs(one.predicted - one.relevant) for one in bins) / len(p),
        predicted=float(p.mean()),
        relevant=float(y.mean()),
        passages=len(p),
        bins=bins,
        origin=origin,
    )
