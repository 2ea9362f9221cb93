"""Haystack's documents come back reranked, also through pipelines that were saved."""

import asyncio
import copy

import pytest
from hypothesis import given

from headrank.errors import ConfigError
from tests.integrations.candidates import QUERY, TEXTS, candidates, counts, few, ranked

pytest.importorskip("haystack", reason="Haystack is not installed (extra `haystack`)")

from haystack import Document, Pipeline
from haystack.core.errors import SerializationError

from headrank.integrations.haystack import HeadRankRanker


@few
@given(given=candidates, count=counts)
def test_ids_metadata_and_texts_are_kept(given, count, calibrated):
    documents = [Document(id=id, content=text, meta=meta, score=0.5) for id, text, meta in given]
    before = copy.deepcopy(documents)
    ranker = HeadRankRanker(calibrated, top_k=count)
    found = ranker.run(QUERY, documents)["documents"]
    assert [(d.id, d.content, d.meta, d.score) for d in found] == [
        (id, text, meta | {"relevance_probability": r.probability}, r.score)
        for (id, text, meta), r in ranked(calibrated, given, count)
    ]
    assert documents == before, "the given documents are unchanged"
    assert asyncio.run(ranker.run_async(QUERY, documents))["documents"] == found
    assert ranker.run(QUERY, documents, top_k=1)["documents"] == found[:1]


def test_equal_documents_without_ids_share_haystacks_id(reranker):
    documents = [Document(content=text) for text in TEXTS]
    found = HeadRankRanker(reranker).run(QUERY, documents)["documents"]
    assert sorted(d.id for d in found) == sorted(d.id for d in documents)
    assert len({d.id for d in found}) == len(TEXTS) - 1
    assert all(d.meta == {} for d in found), "no probability without a map"


def test_a_saved_pipeline(model_folder, reranker):
    pipeline = Pipeline()
    pipeline.add_component("ranker", HeadRankRanker(model_folder, top_k=2, heads="1-2, 0-3", device="cpu"))
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["headrank.*"])
    documents = [Document(content=text) for text in TEXTS]
    found = again.run({"ranker": {"query": QUERY, "documents": documents}})["ranker"]["documents"]
    assert [d.score for d in found] == [r.score for r in reranker.rank(QUERY, TEXTS, 2)]


def test_the_model_is_loaded_once_at_warm_up(model_folder):
    ranker = HeadRankRanker(model_folder, heads="1-2", device="cpu")
    assert ranker._reranker is None
    ranker.warm_up()
    loaded = ranker._reranker
    ranker.warm_up()
    ranker.run(QUERY, [])
    assert ranker._reranker is loaded is not None
    with pytest.raises(TypeError, match="haeds"):
        HeadRankRanker(model_folder, haeds="all").warm_up()


def test_a_given_reranker_is_not_serialized(reranker):
    with pytest.raises(SerializationError, match="Reranker"):
        HeadRankRanker(reranker).to_dict()


def test_wrong_values_are_refused(reranker):
    with pytest.raises(ConfigError, match="top_k is 0"):
        HeadRankRanker(reranker, top_k=0)
    with pytest.raises(ConfigError, match="top_k is 0"):
        HeadRankRanker(reranker).run(QUERY, [Document(content="x")], top_k=0)
    with pytest.raises(TypeError, match=r"passages\[1\] is None"):
        HeadRankRanker(reranker).run(QUERY, [Document(content="x"), Document(id="a")])
