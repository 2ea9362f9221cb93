"""The routes answer as the reranker ranks, in the shapes of each API."""

import dataclasses

import pytest

from headrank import Reranker
from headrank.heads import ProbabilityCalibration
from headrank.serving.scores import bounded
from headrank.serving.settings import ServingSettings
from tests.serving.conftest import QUERY, TEXTS

BODY = {"model": "any", "query": QUERY, "documents": TEXTS}


@pytest.fixture(scope="module")
def expected(reranker):
    return reranker.rank(QUERY, TEXTS)


@pytest.fixture(scope="module")
def with_probability(reranker):
    curve = ProbabilityCalibration(
        slope=2.0, intercept=-1.0, scale=0.1, thresholds={"toy": 1}, lists=2, passages=9, relevant=3,
        protocol="cross_fitted",
    )  # fmt: skip
    return Reranker(reranker.backbone, dataclasses.replace(reranker.heads, probability=curve))


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_cohere_shape(served, expected, path):
    answer = served.post(path, {**BODY, "return_documents": True}).json()
    assert [one["index"] for one in answer["results"]] == [one.index for one in expected]
    scores = [one["relevance_score"] for one in answer["results"]]
    assert scores == pytest.approx([bounded(one.score) for one in expected], abs=1e-6)
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert [one["document"]["text"] for one in answer["results"]] == [one.text for one in expected]
    assert answer["meta"]["api_version"]["version"] == ("2" if "v2" in path else "1")
    assert len(answer["meta"]["warnings"]) == 1  # no probabilities


def test_top_n_and_raw_scores(served, expected):
    results = served.post("/v2/rerank", {**BODY, "top_n": 2, "raw_scores": True}).json()["results"]
    assert [one["relevance_score"] for one in results] == pytest.approx([one.score for one in expected[:2]], abs=1e-6)
    assert all("document" not in one for one in results)
    assert len(served.post("/v2/rerank", {**BODY, "top_n": 99}).json()["results"]) == len(TEXTS)


def test_document_objects_and_rank_fields(served):
    documents = [{"text": text, "title": f"title {n}", "page": n} for n, text in enumerate(TEXTS)]
    plain = served.post("/v1/rerank", BODY).json()["results"]
    answer = served.post("/v1/rerank", {**BODY, "documents": documents, "return_documents": True}).json()["results"]
    assert [(one["index"], one["relevance_score"]) for one in answer] == [
        (one["index"], one["relevance_score"]) for one in plain
    ]
    assert answer[0]["document"] == documents[answer[0]["index"]]
    joined = served.post(
        "/v1/rerank", {**BODY, "documents": [f"title {n}\n{text}" for n, text in enumerate(TEXTS)]}
    ).json()
    by_fields = served.post("/v1/rerank", {**BODY, "documents": documents, "rank_fields": ["title", "text"]}).json()
    assert by_fields["results"] == joined["results"]
    refused = served.post("/v1/rerank", {**BODY, "documents": [*TEXTS, {"body": "x"}]})
    assert (refused.status_code, refused.json()["field"]) == (422, f"documents[{len(TEXTS)}]")


def test_max_tokens_per_doc_cuts_and_reports(served, reranker):
    long = "tides " * 100
    answer = served.post("/v2/rerank", {**BODY, "documents": [long, *TEXTS], "max_tokens_per_doc": 10})
    whole = served.post("/v2/rerank", {**BODY, "documents": [long, *TEXTS]}).json()
    assert int(answer.headers["headrank-truncated-documents"]) == 1 + len(TEXTS)
    assert any("part of 6" in text for text in answer.json()["meta"]["warnings"])
    assert answer.json()["usage"]["total_tokens"] < whole["usage"]["total_tokens"]
    lengths = served.service.batcher.lengths
    cut = [lengths.cut(text, 10) for text in (long, *TEXTS)]
    assert all(long.startswith(cut[0]) for _ in cut)
    same = served.post("/v2/rerank", {**BODY, "documents": cut}).json()["results"]
    assert [one["relevance_score"] for one in answer.json()["results"]] == pytest.approx(
        [one["relevance_score"] for one in same], abs=1e-6
    )


def test_tei_shape(served, expected):
    answer = served.post("/rerank", {"query": QUERY, "texts": TEXTS, "raw_scores": True, "return_text": True}).json()
    assert [(one["index"], one["text"]) for one in answer] == [(one.index, one.text) for one in expected]
    assert [one["score"] for one in answer] == pytest.approx([one.score for one in expected], abs=1e-6)
    plain = served.post("/rerank", {"query": QUERY, "texts": TEXTS}).json()
    assert [set(one) for one in plain] == [{"index", "score"}] * len(TEXTS)
    assert [one["score"] for one in plain] == pytest.approx([bounded(one.score) for one in expected], abs=1e-6)


def test_tei_truncate(served):
    texts = [*TEXTS, "long " * 2000]
    cut = served.post("/rerank", {"query": QUERY, "texts": texts})
    assert (cut.status_code, cut.headers["headrank-truncated-documents"]) == (200, "1")
    refused = served.post("/rerank", {"query": QUERY, "texts": texts, "truncate": False})
    assert refused.status_code == 422
    assert (refused.json()["field"], refused.json()["limit"]) == (f"texts[{len(TEXTS)}]", 256)
    assert served.post("/rerank", {"query": QUERY, "texts": TEXTS, "truncate": False}).status_code == 200


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize("names", [("text_1", "text_2"), ("queries", "documents")])
def test_vllm_shape(served, expected, path, names):
    answer = served.post(path, dict(zip(names, (QUERY, TEXTS), strict=True))).json()
    scores = {one.index: bounded(one.score) for one in expected}
    assert [one["index"] for one in answer["data"]] == list(range(len(TEXTS)))
    assert [one["score"] for one in answer["data"]] == pytest.approx([scores[i] for i in range(len(TEXTS))], abs=1e-6)
    assert answer["data"][0]["object"] == "score"


def test_vllm_pairs_with_one_query_are_one_list(served, reranker):
    queries = ["tides", "bread", "tides"]
    answer = served.post("/score", {"text_1": queries, "text_2": TEXTS[:3], "use_activation": False}).json()
    tides = {one.index: one.score for one in reranker.rank("tides", [TEXTS[0], TEXTS[2]])}
    bread = reranker.rank("bread", [TEXTS[1]])[0].score
    assert [one["score"] for one in answer["data"]] == pytest.approx([tides[0], bread, tides[1]], abs=1e-6)
    one = served.post("/score", {"text_1": "tides", "text_2": TEXTS[0]}).json()
    assert len(one["data"]) == 1
    refused = served.post("/score", {"text_1": ["a", "b"], "text_2": TEXTS[:3]})
    assert (refused.status_code, refused.json()["field"]) == (422, "text_1")


def test_probabilities_are_served_if_the_heads_have_them(serve, with_probability):
    served = serve(by=with_probability)
    expected = with_probability.rank(QUERY, TEXTS)
    answer = served.post("/v2/rerank", BODY).json()
    assert [one["relevance_score"] for one in answer["results"]] == pytest.approx(
        [one.probability for one in expected], abs=1e-6
    )
    assert "warnings" not in answer["meta"]
    assert served.client.get("/health").json()["scores"] == "probability"
    raw = served.post("/rerank", {"query": QUERY, "texts": TEXTS, "raw_scores": True}).json()
    assert [one["score"] for one in raw] == pytest.approx([one.score for one in expected], abs=1e-6)


def test_bounded_keeps_the_order_of_large_scores():
    z = [-1e6, -40.0, -1e-9, 0.0, 1e-9, 40.0, 1e6]
    assert [bounded(value) for value in z] == sorted({bounded(value) for value in z})
    assert bounded(0.0) == 0.5


def test_state_and_openapi(served):
    health = served.client.get("/health").json()
    assert (health["status"], health["scores"], health["model"]) == ("ok", "bounded", "tiny-qwen3")
    assert served.client.get("/ready").status_code == 200
    served.post("/v2/rerank", BODY)
    metrics = served.client.get("/metrics").text
    assert 'headrank_requests_total{path="/v2/rerank",status="200"}' in metrics
    assert "headrank_batch_lists_count" in metrics
    assert QUERY not in metrics
    schema = served.client.get("/openapi.json").json()
    assert {"/v1/rerank", "/v2/rerank", "/rerank", "/score", "/v1/score"} <= set(schema["paths"])


@pytest.mark.parametrize("key", [{"authorization": "Bearer secret"}, {"x-api-key": "secret"}])
def test_api_key(serve, key):
    served = serve(ServingSettings(api_key="secret"))
    for path in ("/v2/rerank", "/score", "/rerank", "/nothing"):
        refused = served.post(path, BODY)
        assert (refused.status_code, refused.json()["error_type"]) == (401, "unauthorized")
        assert served.post(path, BODY, headers={"authorization": "Bearer secre"}).status_code == 401
    assert served.client.get("/metrics").status_code == 401
    assert served.client.get("/health").status_code == served.client.get("/").status_code == 200
    assert served.post("/v2/rerank", BODY, headers=key).status_code == 200
    assert "secret" not in repr(served.service.settings)
