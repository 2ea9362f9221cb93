"""rerankers (AnswerDotAI): a ranker with its documents and results."""

from headrank.extras import require_extra

require_extra("rerankers", "headrank.integrations.rerankers")

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rerankers.documents import Document
from rerankers.models.ranker import BaseRanker
from rerankers.results import RankedResults, Result
from rerankers.utils import prep_docs

from headrank.reranker import Reranker, RerankResult
from headrank.reranker.adapters import open_reranker, with_relevance


class HeadRankRanker(BaseRanker):
    """Reranks documents.

    model: a reranker, or what `Reranker.from_pretrained` loads; its other arguments are `options`.
    verbose: for the signature.
    """

    def __init__(self, model: Reranker | str | Path, verbose: int = 1, **options: Any) -> None:
        self.verbose = verbose
        self.ranking_type = "listwise"
        self._reranker = open_reranker(model, **options)

    def score(self, query: str, doc: str) -> float:
        """The score of one document, as a list of one. Not comparable with scores of `rank`."""
        return self._reranker.rank(query, [doc])[0].score

    def rank(
        self,
        query: str,
        docs: str | list[str] | Document | list[Document],
        doc_ids: list[str] | list[int] | None = None,
        metadata: list[dict] | None = None,
    ) -> RankedResults:
        """Rank texts or documents. Results hold copies of the documents; `top_k` of the returned object cuts them."""
        documents = _documents(docs, doc_ids, metadata)
        return _ranked(query, documents, self._reranker.rank(query, [document.text for document in documents]))

    async def rank_async(
        self,
        query: str,
        docs: str | list[str] | Document | list[Document],
        doc_ids: list[str] | list[int] | str | None = None,
        metadata: list[dict] | None = None,
    ) -> RankedResults:
        """`rank` in the reranker's worker thread."""
        documents = _documents(docs, doc_ids, metadata)
        return _ranked(query, documents, await self._reranker.arank(query, [document.text for document in documents]))


def _documents(docs: Any, doc_ids: Any, metadata: Any) -> list[Any]:
    return prep_docs(docs, doc_ids, metadata) if docs or isinstance(docs, str) else []


def _ranked(query: str, documents: Sequence[Document], results: Sequence[RerankResult]) -> RankedResults:
    return RankedResults([_result(documents, result) for result in results], query, has_scores=True)


def _result(documents: Sequence[Document], result: RerankResult) -> Result:
    document = copy.copy(documents[result.index])
    document.metadata = with_relevance(document.metadata, result)
    return Result(document, result.score, result.rank)
