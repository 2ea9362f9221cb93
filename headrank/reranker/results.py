"""Define the results that a reranker returns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from headrank.heads import ProbabilityCalibration
from headrank.model import ScoredList
from headrank.reranker.documents import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankResult:
    """One passage of a ranking.

    id: the passage's id as the user gave it, text or an integer; for passages without an id their index.
    score: higher is better; comparable within one ranking.
    rank: from 1.
    text: the text that was ranked, with the title if there is one.
    truncated: the text is longer than `prompt.max_passage_tokens`, and only its beginning was read.
    index: the position in the input, from 0.
    metadata: the other fields of the passage.
    document: the passage as the user gave it; for a row of a data frame a dict.
    probability: of relevance, from the map in `heads.json` (`headrank.heads.ProbabilityCalibration`). None if the heads
        have none: they were given, have a fusion weight that was not fitted, or are used with another model, scorer or
        prompt.
    """

    id: Any  # text or an integer
    score: float
    rank: int
    text: str
    truncated: bool = False
    index: int
    metadata: dict[str, Any] = field(default_factory=dict, hash=False)
    document: Any = field(default=None, hash=False, repr=False)
    probability: float | None = None


def make_results(
    scored: ScoredList, documents: Sequence[Document], probability: ProbabilityCalibration | None = None
) -> list[RerankResult]:
    """Return the ranked documents as results, best first.

    scored: the scored list, whose passage ids are the documents' positions. probability: the map from z to a
    probability of relevance; None: results have no probability. A list in several windows has none either, because the
    map was fitted on lists in one prompt.
    """
    cut, ranking = set(scored.cut), scored.ranking
    if scored.windows > 1:
        probability = None
    probabilities = [None] * len(ranking) if probability is None else probability(ranking.scores)
    results = []
    for ranked, relevant in zip(ranking.results, probabilities, strict=True):
        index = int(ranked.id)
        document = documents[index]
        results.append(
            RerankResult(
                id=document.id,
                score=ranked.score,
                rank=ranked.rank,
                text=document.text,
                truncated=ranked.id in cut,
                index=index,
                metadata=document.metadata,
                document=document.source,
                probability=relevant,
            )
        )
    return results
