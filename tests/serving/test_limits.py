"""Refusals: sizes, load, slow and cancelled clients. The body names the field and the limit."""

import asyncio
import concurrent.futures
import socket
import threading

import httpx
import pytest

from headrank.errors import ModelError
from headrank.serving.settings import ServingSettings
from tests.serving.conftest import QUERY, TEXTS, Held, wait_for

BODY = {"query": QUERY, "documents": TEXTS}
SMALL = ServingSettings(max_documents=6, max_characters=80, max_body=2000)


@pytest.fixture
def small(serve):
    return serve(SMALL)


@pytest.mark.parametrize(
    ("path", "body", "field", "limit"),
    [
        ("/v2/rerank", {"query": QUERY, "documents": ["a"] * 7}, "documents", 6),
        ("/rerank", {"query": QUERY, "texts": ["a"] * 7}, "texts", 6),
        ("/score", {"text_1": QUERY, "text_2": ["a"] * 7}, "text_2", 6),
        ("/v2/rerank", {"query": "q" * 81, "documents": ["a"]}, "query", 80),
        ("/rerank", {"query": QUERY, "texts": ["a", "b" * 81]}, "texts[1]", 80),
        ("/v1/score", {"text_1": ["q", "r" * 81], "text_2": ["a", "b"]}, "text_1[1]", 80),
        ("/v2/rerank", {"query": QUERY, "documents": []}, "documents", 1),
        ("/v2/rerank", {"query": "", "documents": ["a"]}, "query", 1),
        ("/v2/rerank", {"query": QUERY, "documents": ["a"], "top_n": 0}, "top_n", 1),
        ("/v2/rerank", {"query": QUERY, "documents": ["a", 7]}, "documents[1]", None),
        ("/v2/rerank", {"query": QUERY}, "documents", None),
        ("/rerank", {"query": QUERY}, "texts", None),
        ("/rerank", {"documents": ["a"]}, "query", None),
        ("/score", {"text_1": QUERY}, "text_2", None),
        ("/v1/rerank", {"query": QUERY, "documents": [{"title": "a"}]}, "documents[0]", None),
        ("/rerank", {"query": QUERY, "texts": ["a"], "truncation_direction": "Left"}, "truncation_direction", None),
    ],
)
def test_422_names_the_field_and_the_limit(small, path, body, field, limit):
    answer = small.post(path, body)
    assert answer.status_code == 422
    assert (answer.json()["field"], answer.json().get("limit")) == (field, limit)
    assert answer.json()["message"] == answer.json()["error"]


def test_413_by_content_length_and_by_stream(small):
    large = {"query": QUERY, "documents": ["a" * 3000]}
    for answer in (
        small.post("/v2/rerank", large),
        small.client.post("/v2/rerank", content=(b'{"query": "%s' % (b"a" * 500) for _ in range(9))),
    ):
        assert answer.status_code == 413
        assert (answer.json()["field"], answer.json()["limit"]) == ("body", SMALL.max_body)
    assert small.post("/v2/rerank", {"query": QUERY, "documents": ["a"]}).status_code == 200


def test_a_slow_upload_is_ended(serve):
    served = serve(ServingSettings(body_seconds=0.2))
    with socket.create_connection(("127.0.0.1", int(served.url.rsplit(":", 1)[1]))) as client:
        client.sendall(b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{")
        client.settimeout(20)
        assert client.recv(100).startswith(b"HTTP/1.1 408")
    wait_for(lambda: served.service.admission.in_flight == 0)


def test_a_full_queue_answers_429(serve, monkeypatch):
    served = serve(ServingSettings(max_queue=3))
    held = Held(served.service, monkeypatch)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(served.post, "/v2/rerank", BODY) for _ in range(3)]
        wait_for(lambda: served.service.admission.in_flight == 3)
        refused = served.post("/v2/rerank", BODY)
        assert (refused.status_code, refused.json()["limit"]) == (429, 3)
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert served.client.get("/ready").status_code == 503
        assert served.client.get("/health").status_code == 200
        held.release()
        assert [one.result().status_code for one in accepted] == [200] * 3
    assert served.post("/v2/rerank", BODY).status_code == 200
    assert served.client.get("/ready").status_code == 200


def test_a_cancelled_request_is_never_ranked(serve, monkeypatch):
    served = serve()
    held = Held(served.service, monkeypatch)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(served.post, "/v2/rerank", BODY)
        assert held.started.wait(20)

        async def ask_and_leave():
            async with httpx.AsyncClient(base_url=served.url) as client:
                tasks = [asyncio.create_task(client.post("/v2/rerank", json=BODY)) for _ in range(5)]
                while len(served.service.batcher.waiting) < 5:
                    await asyncio.sleep(0.01)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(ask_and_leave())
        wait_for(lambda: not served.service.batcher.waiting)
        held.release()
        assert first.result().status_code == 200
    wait_for(lambda: served.service.admission.in_flight == 0)
    assert held.batches == [1]
    assert "headrank_abandoned_lists_total 5.0" in served.client.get("/metrics").text


def test_a_client_that_leaves_during_its_turn_costs_nobody_else(serve, monkeypatch):
    served = serve()
    held = Held(served.service, monkeypatch)
    with pytest.raises(httpx.ReadTimeout):
        served.post("/v2/rerank", BODY, timeout=0.3)
    assert held.batches == [1]
    held.release()
    assert served.post("/v2/rerank", BODY).status_code == 200


def test_one_failing_list_fails_alone(serve, monkeypatch):
    served = serve()
    rank_many, first = served.service.reranker.rank_many, threading.Event()

    def broken(lists, top_k=None):
        first.wait(20)
        if any(query == "bad" for query, _ in lists):
            raise ModelError("query '0': score nan")
        return rank_many(lists, top_k)

    monkeypatch.setattr(served.service.reranker, "rank_many", broken)
    queries = ["first", "good", "bad", "also good"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(served.post, "/v2/rerank", {**BODY, "query": query}) for query in queries]
        wait_for(lambda: served.service.admission.in_flight == 4)
        first.set()
        answers = [one.result() for one in asked]
    assert [one.status_code for one in answers] == [200, 200, 500, 200]
    assert answers[2].json()["error_type"] == "internal"


def test_an_unexpected_error_shows_no_details(serve, monkeypatch):
    served = serve()

    def broken(lists, top_k=None):
        raise RuntimeError(f"with the text {lists[0][0]}")

    monkeypatch.setattr(served.service.reranker, "rank_many", broken)
    answer = served.post("/v2/rerank", BODY)
    assert answer.status_code == 500
    assert QUERY not in answer.text


def test_unknown_paths_and_methods(served):
    assert served.client.get("/nothing").json()["error_type"] == "not_found"
    assert served.client.get("/v2/rerank").status_code == 405
    assert 'path="other"' in served.client.get("/metrics").text
