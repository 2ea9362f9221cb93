"""The results of `rerankers` hold its documents, with their ids and metadata."""

import asyncio
import threading

import pytest
from hypothesis import given

from tests.integrations.candidates import QUERY, TEXTS, candidates, few, ranked

pytest.importorskip("rerankers", reason="rerankers is not installed (extra `rerankers`)")

from rerankers import Document
from rerankers.models.ranker import BaseRanker

from headrank.integrations.rerankers import HeadRankRanker


def fields(results):
    return [(r.doc_id, r.text, r.document.metadata, r.score, r.rank) for r in results]


@few
@given(given=candidates)
def test_ids_metadata_and_texts_are_kept(given, calibrated):
    ids, texts, metadata = (list(column) for column in zip(*given, strict=True)) if given else ([], [], [])
    documents = [Document(text, id, meta) for id, text, meta in given]
    expected = [
        (id, text, meta | {"relevance_probability": r.probability}, r.score, r.rank)
        for (id, text, meta), r in ranked(calibrated, given)
    ]
    ranker = HeadRankRanker(calibrated)
    found = ranker.rank(QUERY, documents)
    assert fields(found) == expected
    assert (found.query, found.has_scores) == (QUERY, True)
    assert fields(found.top_k(2)) == expected[:2]
    assert fields(ranker.rank(QUERY, texts, ids, metadata)) == expected
    assert [(d.doc_id, d.text, d.metadata) for d in documents] == given, "the given documents are unchanged"


def test_texts_without_ids(reranker):
    ranker = HeadRankRanker(reranker, verbose=0)
    assert isinstance(ranker, BaseRanker)
    found = ranker.rank(QUERY, TEXTS)
    assert fields(found) == [(r.index, r.text, {}, r.score, r.rank) for r in reranker.rank(QUERY, TEXTS)]
    assert fields(asyncio.run(ranker.rank_async(QUERY, TEXTS))) == fields(found)
    (only,) = ranker.rank(QUERY, TEXTS[0])
    assert only.score == ranker.score(QUERY, TEXTS[0]) == reranker.rank(QUERY, TEXTS[:1])[0].score
    assert ranker.rank(QUERY, "")[0].text == ""


def test_asynchronous_calls_run_in_the_rerankers_worker(reranker, monkeypatch):
    rank, threads = reranker.rank, []
    monkeypatch.setattr(reranker, "rank", lambda *args: threads.append(threading.current_thread().name) or rank(*args))
    found = asyncio.run(HeadRankRanker(reranker).rank_async(QUERY, TEXTS, metadata=[{"page": i} for i in range(5)]))
    assert [r.document.metadata for r in found] == [{"page": r.index} for r in rank(QUERY, TEXTS)]
    assert [name.rsplit("_", 1)[0] for name in threads] == ["rerank"]


def test_the_probability_of_an_earlier_reranker_is_dropped(reranker):
    document = Document("x", "a", {"relevance_probability": 0.9, "page": 3})
    (found,) = HeadRankRanker(reranker).rank(QUERY, [document])
    assert found.document.metadata == {"page": 3}


def test_a_model_by_its_name_with_options(model_folder, reranker):
    named = HeadRankRanker(str(model_folder), heads="1-2, 0-3", device="cpu")
    assert fields(named.rank(QUERY, TEXTS)) == fields(HeadRankRanker(reranker).rank(QUERY, TEXTS))
    with pytest.raises(TypeError, match="haeds"):
        HeadRankRanker(model_folder, haeds="all")
