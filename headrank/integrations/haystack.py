"""Haystack: a ranker component for pipelines."""

from headrank.extras import require_extra

require_extra("haystack", "headrank.integrations.haystack")

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.core.errors import SerializationError

from headrank.reranker import Reranker, RerankResult
from headrank.reranker.adapters import open_reranker, plain_options, with_relevance
from headrank.reranker.values import parse_count

_LOADING = threading.Lock()  # of the module: a component with a lock could not be copied


@component
class HeadRankRanker:
    """Reranks documents. The returned copies have HeadRank's score.

    model: a reranker, or what `Reranker.from_pretrained` loads (at `warm_up`); its other arguments are `options`.
    top_k: the number of returned documents; None: all.
    """

    def __init__(self, model: Reranker | str | Path, top_k: int | None = None, **options: Any) -> None:
        self.model = model
        self.top_k = parse_count(top_k, "top_k")
        self.options = options
        self._reranker: Any = None  # a `Reranker` after `warm_up`

    def warm_up(self) -> None:
        """Load the reranker. Later calls do nothing; `run` calls it."""
        with _LOADING:
            self._reranker = self._reranker or open_reranker(self.model, **self.options)

    async def warm_up_async(self) -> None:
        """`warm_up` in a thread; `run_async` calls it."""
        await asyncio.to_thread(self.warm_up)

    def to_dict(self) -> dict[str, Any]:
        """Serialize this component. Raises `SerializationError` if it was given a `Reranker` or another object."""
        try:
            return default_to_dict(self, **plain_options({"model": self.model, "top_k": self.top_k, **self.options}))
        except TypeError as error:
            raise SerializationError(str(error)) from error

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "HeadRankRanker":
        """Make a component of what `to_dict` returned."""
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, list[Document]]:
        """Return {"documents": copies of the best documents, best first}. `top_k` overrides the component's."""
        self.warm_up()
        return _ranked(documents, self._reranker.rank(*self._list(query, documents, top_k)))

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """`run` in a worker thread."""
        await self.warm_up_async()
        return _ranked(documents, await self._reranker.arank(*self._list(query, documents, top_k)))

    def _list(self, query: str, documents: Sequence[Document], top_k: int | None) -> tuple[str, list[Any], int | None]:
        return query, [document.content for document in documents], self.top_k if top_k is None else top_k


def _ranked(documents: Sequence[Document], results: Sequence[RerankResult]) -> dict[str, list[Document]]:
    ranked = [(documents[result.index], result) for result in results]
    return {"documents": [replace(d, score=r.score, meta=with_relevance(d.meta, r)) for d, r in ranked]}
