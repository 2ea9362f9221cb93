"""LangChain: a document compressor, for `ContextualCompressionRetriever` or on its own."""

from headrank.extras import require_extra

require_extra("langchain", "headrank.integrations.langchain")

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.documents.compressor import BaseDocumentCompressor
from pydantic import ConfigDict, Field, PrivateAttr

from headrank.reranker import Reranker, RerankResult
from headrank.reranker.adapters import open_reranker, with_relevance


class HeadRankCompressor(BaseDocumentCompressor):
    """Reranks documents. The metadata of the returned copies also have `relevance_score`.

    model: a reranker, or what `Reranker.from_pretrained` loads; its other arguments are keywords here, too.
    top_n: the number of returned documents; None: all.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="allow")

    model: Reranker | str | Path
    top_n: int | None = Field(default=None, ge=1)
    _reranker: Reranker = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Load the reranker."""
        self._reranker = open_reranker(self.model, **(self.model_extra or {}))

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return copies of the `top_n` best documents, best first."""
        return _ranked(documents, self._reranker.rank(query, [d.page_content for d in documents], self.top_n))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """`compress_documents` in a worker thread."""
        results = await self._reranker.arank(query, [d.page_content for d in documents], self.top_n)
        return _ranked(documents, results)


def _ranked(documents: Sequence[Document], results: Sequence[RerankResult]) -> list[Document]:
    return [
        document.model_copy(update={"metadata": with_relevance(document.metadata, result, "relevance_score")})
        for result in results
        for document in [documents[result.index]]
    ]
