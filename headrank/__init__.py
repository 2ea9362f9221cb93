"""HeadRank: fast, trainable reranking without decoding, by reading a language model's attention."""

from typing import TYPE_CHECKING, Any

from headrank.ranking import CandidateList, Passage, Qrels, Query, RankedPassage, Ranking, Run

if TYPE_CHECKING:
    from headrank.reranker import Reranker, RerankResult

__all__ = [
    "CandidateList",
    "Passage",
    "Qrels",
    "Query",
    "RankedPassage",
    "Ranking",
    "RerankResult",
    "Reranker",
    "Run",
]


def __getattr__(name: str) -> Any:
    """Import `Reranker` and `RerankResult` at first use, because torch and transformers take seconds to import."""
    if name in ("Reranker", "RerankResult"):
        import headrank.reranker

        return getattr(headrank.reranker, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
