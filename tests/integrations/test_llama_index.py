"""LlamaIndex's nodes come back reranked, themselves unchanged."""

import asyncio

import pytest
from hypothesis import given
from pydantic import ValidationError

from tests.integrations.candidates import QUERY, TEXTS, candidates, counts, few, ranked

pytest.importorskip("llama_index.core", reason="LlamaIndex is not installed (extra `llama-index`)")

from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from headrank.integrations.llama_index import HeadRankPostprocessor


def nodes(candidates):
    return [
        NodeWithScore(node=TextNode(id_=id, text=text, metadata=metadata), score=0.5)
        for id, text, metadata in candidates
    ]


@few
@given(given=candidates, count=counts)
def test_ids_metadata_and_texts_are_kept(given, count, calibrated):
    scored = nodes(given)
    before = [node.model_copy(deep=True) for node in scored]
    postprocessor = HeadRankPostprocessor(model=calibrated, top_n=count, metadata_mode=MetadataMode.NONE)
    found = postprocessor.postprocess_nodes(scored, query_str=QUERY)
    assert [(n.node_id, n.text, n.metadata, n.score) for n in found] == [
        (*candidate, r.score) for candidate, r in ranked(calibrated, given, count)
    ]
    assert all(any(n.node is one.node for one in scored) for n in found)
    assert scored == before, "the given nodes are unchanged"
    assert asyncio.run(postprocessor.apostprocess_nodes(scored, QueryBundle(QUERY))) == found


def test_the_metadata_for_embeddings_are_read_by_default(reranker):
    scored = nodes([("a", text, {"topic": "sea", "secret": "x"}) for text in TEXTS])
    for one in scored:
        one.node.excluded_embed_metadata_keys = ["secret"]
    found = HeadRankPostprocessor(model=reranker).postprocess_nodes(scored, query_str=QUERY)
    texts = [f"topic: sea\n\n{text}".strip() for text in TEXTS]
    assert [n.score for n in found] == [r.score for r in reranker.rank(QUERY, texts)]


def test_without_metadata_the_scores_are_those_of_the_reranker(reranker):
    scored = nodes([(f"n{i}", text, {"topic": "sea"}) for i, text in enumerate(TEXTS)])
    found = HeadRankPostprocessor(model=reranker, metadata_mode="none").postprocess_nodes(scored, query_str=QUERY)
    assert [(n.node_id, n.score) for n in found] == [(r.id, r.score) for r in reranker.rank(QUERY, scored)]


def test_callback_handlers_see_each_ranking(reranker):
    handler = LlamaDebugHandler(print_trace_on_end=False)
    postprocessor = HeadRankPostprocessor(model=reranker, top_n=2, callback_manager=CallbackManager([handler]))
    scored = nodes([("a", text, {}) for text in TEXTS])
    found = postprocessor.postprocess_nodes(scored, query_str=QUERY)
    assert asyncio.run(postprocessor.apostprocess_nodes(scored, query_str=QUERY)) == found
    events = handler.get_event_pairs(CBEventType.RERANKING)
    assert len(events) == 2
    for start, end in events:
        assert (start.payload[EventPayload.QUERY_STR], start.payload[EventPayload.TOP_K]) == (QUERY, 2)
        assert end.payload[EventPayload.NODES] == found


def test_a_query_is_needed(reranker):
    with pytest.raises(ValueError, match="query_bundle is None"):
        HeadRankPostprocessor(model=reranker).postprocess_nodes(nodes([("a", "x", {})]))


def test_a_model_by_its_name_is_serialized_with_its_options(model_folder, reranker):
    first = HeadRankPostprocessor(model=str(model_folder), top_n=2, heads="1-2, 0-3", device="cpu")
    assert isinstance(first, BaseNodePostprocessor)
    again = HeadRankPostprocessor.from_dict(first.to_dict())
    scored = nodes([("a", text, {}) for text in TEXTS])
    found = again.postprocess_nodes(scored, query_str=QUERY)
    assert [n.score for n in found] == [r.score for r in reranker.rank(QUERY, TEXTS, 2)]


@pytest.mark.parametrize("options", [{"top_n": 0}, {"model": 3}, {"metadata_mode": "some"}])
def test_wrong_values_are_refused(options, reranker):
    with pytest.raises(ValidationError, match=next(iter(options))):
        HeadRankPostprocessor(**{"model": reranker} | options)


def test_unknown_options_are_refused(model_folder):
    with pytest.raises(TypeError, match="haeds"):
        HeadRankPostprocessor(model=model_folder, haeds="all")
