"""LlamaIndex: a node postprocessor, for query engines or on its own."""

from headrank.extras import require_extra

require_extra("llama-index", "headrank.integrations.llama_index")

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from headrank.reranker import Reranker, RerankResult
from headrank.reranker.adapters import open_reranker


class HeadRankPostprocessor(BaseNodePostprocessor):
    """Reranks nodes. The nodes stay as they are; `NodeWithScore.score` is HeadRank's score.

    model: a reranker, or what `Reranker.from_pretrained` loads; its other arguments are keywords here, too.
    top_n: the number of returned nodes; None: all.
    metadata_mode: the metadata that the model reads before a node's text, by default those for embeddings as for other
        rerankers of LlamaIndex; with `"none"`, only the text.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="allow")

    model: Reranker | str | Path
    top_n: int | None = Field(default=None, ge=1)
    metadata_mode: MetadataMode = MetadataMode.EMBED
    _reranker: Reranker = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Load the reranker."""
        super().model_post_init(context)
        self._reranker = open_reranker(self.model, **(self.model_extra or {}))

    @classmethod
    def class_name(cls) -> str:
        """The name of the class in serialized components."""
        return "HeadRankPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        with self.callback_manager.event(CBEventType.RERANKING, self._payload(nodes, query_bundle)) as event:
            found = _ranked(nodes, self._reranker.rank(*self._list(nodes, query_bundle), self.top_n))
            event.on_end({EventPayload.NODES: found})
        return found

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        with self.callback_manager.event(CBEventType.RERANKING, self._payload(nodes, query_bundle)) as event:
            found = _ranked(nodes, await self._reranker.arank(*self._list(nodes, query_bundle), self.top_n))
            event.on_end({EventPayload.NODES: found})
        return found

    def _payload(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None) -> dict[str, Any]:
        query = query_bundle.query_str if query_bundle else None
        name = self._reranker.backbone.settings.model
        fields = EventPayload.NODES, EventPayload.MODEL_NAME, EventPayload.QUERY_STR, EventPayload.TOP_K
        return dict(zip(fields, (nodes, name, query, self.top_n), strict=True))

    def _list(self, nodes: Sequence[NodeWithScore], query_bundle: QueryBundle | None) -> tuple[str, list[str]]:
        if query_bundle is None:
            raise ValueError("query_bundle is None; expected a query, because HeadRank ranks nodes by it")
        return query_bundle.query_str, [node.node.get_content(self.metadata_mode) for node in nodes]


def _ranked(nodes: Sequence[NodeWithScore], results: Sequence[RerankResult]) -> list[NodeWithScore]:
    return [nodes[result.index].model_copy(update={"score": result.score}) for result in results]
