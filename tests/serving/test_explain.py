"""`/explain` returns the reranker's explanation, through the same queue."""

import concurrent.futures

import pytest

from tests.serving.conftest import QUERY, TEXTS


@pytest.mark.parametrize("top_k", [None, 2])
def test_explain(served, reranker, top_k):
    answer = served.post("/explain", {"query": QUERY, "passages": TEXTS, "top_k": top_k})
    assert answer.status_code == 200
    expected = reranker.explain(QUERY, TEXTS, top_k=top_k).to_dict()
    found = answer.json()
    assert len(found["passages"]) == (top_k or len(TEXTS))
    for one, other in zip(found["passages"], expected["passages"], strict=True):
        assert {key: one[key] for key in ("id", "index", "rank", "text")} == {
            key: other[key] for key in ("id", "index", "rank", "text")
        }
        assert one["score"] == pytest.approx(other["score"], abs=1e-6)
        assert [token["contribution"] for token in one["tokens"]] == pytest.approx(
            [token["contribution"] for token in other["tokens"]], abs=1e-6
        )
        assert sum(token["contribution"] for token in one["tokens"]) == pytest.approx(one["contribution"], abs=1e-5)


def test_explanations_and_rankings_share_the_queue(served, reranker):
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        explained = [pool.submit(served.post, "/explain", {"query": QUERY, "passages": TEXTS}) for _ in range(3)]
        ranked = [pool.submit(served.post, "/rerank", {"query": QUERY, "texts": TEXTS}) for _ in range(3)]
        order = [one.index for one in reranker.rank(QUERY, TEXTS)]
        assert all([one["index"] for one in answer.result().json()["passages"]] == order for answer in explained)
        assert all([one["index"] for one in answer.result().json()] == order for answer in ranked)


def test_wrong_requests(served):
    refused = served.post("/explain", {"query": QUERY, "passages": [], "top_k": 0})
    assert (refused.status_code, refused.json()["field"]) == (422, "passages")
