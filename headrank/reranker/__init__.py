"""Rerank from Python.

from headrank import Reranker
reranker = Reranker.from_pretrained("outputs/nano/checkpoint")
for result in reranker.rank("why is the sky blue?", passages, top_k=5):
    print(result.rank, result.id, result.score)
"""

from headrank.reranker.heads import HEADS_FILE
from headrank.reranker.reranker import Reranker
from headrank.reranker.results import RerankResult

__all__ = ["HEADS_FILE", "RerankResult", "Reranker"]
