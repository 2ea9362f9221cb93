"""Batches across clients: their plan, and equal scores."""

import concurrent.futures

import pytest

from headrank.serving.queue import Job, batch_tokens, estimate_tokens, take_batch
from headrank.serving.settings import ServingSettings
from tests.serving.conftest import TEXTS, Held, wait_for


def job(name, texts=("a",), query=10, passages=100, **more):
    return Job(name, texts, query_tokens=query, passage_tokens=passages, **more)


def names(batch):
    return [one.query for one in batch]


def test_a_batch_is_filled_up_to_the_budget_in_order():
    waiting = [job("1", ("a",)), job("2", ("b",)), job("3", ("c",)), job("4", ("d",), passages=10)]
    assert names(take_batch(waiting, 220)) == ["1", "2"]  # 4 would fit, but may not overtake 3
    assert names(take_batch(waiting, 1000)) == ["1", "2", "3", "4"]
    assert names(take_batch(waiting, 1)) == ["1"]
    assert take_batch([], 10) == []


def test_lists_over_the_same_passages_share_their_cost_and_may_overtake():
    waiting = [job("1", ("a",)), job("2", ("b",)), job("3", ("a",)), job("4", ("a",), max_tokens=5), job("5", ("a",))]
    batch = take_batch(waiting, 130)
    assert names(batch) == ["1", "3", "5"]  # 4 reads other tokens
    assert batch_tokens(batch) == 130


def test_explanations_share_no_pass():
    waiting = [job("1", explain=3), job("2", explain=3)]
    assert batch_tokens(waiting) == 220


@pytest.mark.parametrize(("text", "limit", "tokens"), [("", None, 1), ("a" * 400, None, 101), ("a" * 400, 30, 30)])
def test_estimate(text, limit, tokens):
    assert estimate_tokens(text, limit) == tokens


def test_tokens_are_counted_up_to_the_limit(served):
    text = "The moon pulls the sea and makes the tides. " * 20
    lengths = served.service.batcher.lengths
    query = lengths.tokens("tides", [])
    assert lengths.tokens("tides", [text]) == query + lengths.limits.max_passage_tokens
    assert lengths.tokens("tides", ["the a"]) - query < lengths.tokens("tides", ["xyz q"]) - query


LISTS = [(f"query {n}", [*TEXTS[n % 3 :], f"passage {n} " * (n % 5)]) for n in range(12)]
SHARED = [(f"what about {n}", TEXTS) for n in range(8)]


def test_batched_requests_get_the_scores_of_single_ones(serve, monkeypatch, reranker):
    lists = LISTS + SHARED
    alone = [reranker.rank(query, texts) for query, texts in lists]
    served = serve()
    held = Held(served.service, monkeypatch)

    def ask(one):
        body = {"query": one[0], "texts": one[1], "raw_scores": True}
        return served.post("/rerank", body).json()

    with concurrent.futures.ThreadPoolExecutor(len(lists) + 1) as pool:
        first = pool.submit(ask, ("first", TEXTS))
        assert held.started.wait(20)
        asked = [pool.submit(ask, one) for one in lists]
        wait_for(lambda: len(served.service.batcher.waiting) == len(lists))
        held.release()
        answers = [one.result() for one in asked]
        first.result()
    assert held.batches == [1, len(lists)]
    for answer, expected in zip(answers, alone, strict=True):
        assert [one["index"] for one in answer] == [one.index for one in expected]
        assert [one["score"] for one in answer] == pytest.approx([one.score for one in expected], abs=2e-6)


def test_requests_over_the_same_passages_share_a_pass(serve, monkeypatch):
    served = serve(ServingSettings(tokens_per_batch=400))
    held = Held(served.service, monkeypatch)
    passes = []
    hook = served.service.reranker.backbone.model.register_forward_pre_hook(lambda *_: passes.append(1))

    def ask(query, texts):
        return served.post("/v2/rerank", {"query": query, "documents": texts}).status_code

    try:
        with concurrent.futures.ThreadPoolExecutor(9) as pool:
            asked = [pool.submit(ask, "first", ["x"])]
            assert held.started.wait(20)
            asked += [pool.submit(ask, f"query {n}", TEXTS) for n in range(4)]
            wait_for(lambda: len(served.service.batcher.waiting) == 4)
            held.release()
            assert [one.result() for one in asked] == [200] * 5
    finally:
        hook.remove()
    assert held.batches == [1, 4]
    assert len(passes) == 2


def test_retry_after_follows_the_load(served):
    batcher = served.service.batcher
    assert batcher.retry_after() == 1
    try:
        batcher.waiting.extend(job(str(n), (str(n),), passages=10**9) for n in range(3))
        assert batcher.retry_after() == 60
    finally:
        batcher.waiting.clear()
