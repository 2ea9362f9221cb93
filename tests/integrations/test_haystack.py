"""Haystack's documents come back reranked, also through pipelines that were saved."""

import asyncio
import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given

from headrank.errors import ConfigError
from tests.integrations.candidates import QUERY, TEXTS, candidates, counts, few, ranked

pytest.importorskip("haystack", reason="Haystack is not installed (extra `haystack`)")

from haystack import Document, Pipeline
from haystack.core.errors import SerializationError

from headrank.integrations import haystack
from headrank.integrations.haystack import HeadRankRanker
from headrank.model import PromptSettings


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


@pytest.fixture
def loads(monkeypatch):
    """The threads that loaded a model, each load slow enough to overlap with another one."""
    threads = []

    def slow(*args, **options):
        threads.append(threading.current_thread())
        time.sleep(0.2)
        return open_reranker(*args, **options)

    open_reranker = haystack.open_reranker
    monkeypatch.setattr(haystack, "open_reranker", slow)
    return threads


def test_threads_that_run_first_load_the_model_once(model_folder, loads):
    ranker = HeadRankRanker(model_folder, heads="1-2", device="cpu")
    documents = [Document(content=text) for text in TEXTS]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: ranker.run(QUERY, documents), range(2))
    assert first == second
    assert len(loads) == 1
    assert copy.deepcopy(HeadRankRanker(model_folder)).model == model_folder


def test_the_event_loop_is_free_while_the_model_is_loaded(model_folder, loads):
    ranker = HeadRankRanker(model_folder, heads="1-2", device="cpu")

    async def run():
        return await asyncio.gather(*(ranker.run_async(QUERY, [Document(content="x")]) for _ in range(2)))

    first, second = asyncio.run(run())
    assert first == second
    assert len(loads) == 1
    assert loads[0] is not threading.main_thread()


def test_a_given_reranker_is_not_serialized(reranker):
    with pytest.raises(SerializationError, match="Reranker"):
        HeadRankRanker(reranker).to_dict()


def test_an_option_that_is_an_object_is_named_when_the_component_is_saved(model_folder):
    with pytest.raises(SerializationError, match=r"prompt is PromptSettings"):
        HeadRankRanker(model_folder, prompt=PromptSettings()).to_dict()
    saved = HeadRankRanker(model_folder, heads=[(1, 2), (0, 3)]).to_dict()
    assert saved["init_parameters"] == {"model": str(model_folder), "top_k": None, "heads": [[1, 2], [0, 3]]}
    again = HeadRankRanker.from_dict(saved)
    again.warm_up()
    assert again._reranker.heads.heads == ((1, 2), (0, 3))


def test_the_probability_of_an_earlier_reranker_is_dropped(reranker):
    document = Document(content="x", meta={"relevance_probability": 0.9, "page": 3})
    (found,) = HeadRankRanker(reranker).run(QUERY, [document])["documents"]
    assert found.meta == {"page": 3}


def test_wrong_values_are_refused(reranker):
    with pytest.raises(ConfigError, match="top_k is 0"):
        HeadRankRanker(reranker, top_k=0)
    with pytest.raises(ConfigError, match="top_k is 0"):
        HeadRankRanker(reranker).run(QUERY, [Document(content="x")], top_k=0)
    with pytest.raises(TypeError, match=r"passages\[1\] is None"):
        HeadRankRanker(reranker).run(QUERY, [Document(content="x"), Document(id="a")])
