"""HeadRank: fast, trainable reranking without decoding, by reading a language model's attention."""

from headrank.ranking import CandidateList, Passage, Qrels, Query, RankedPassage, Ranking, Run
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
