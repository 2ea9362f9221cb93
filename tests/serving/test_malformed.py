"""A thousand malformed requests: no answer has a status from 500, and the server holds nothing of them."""

import gc
import json
import random
import re
from pathlib import Path

import pytest

from headrank.serving.settings import ServingSettings
from tests.serving.conftest import QUERY, TEXTS

REQUESTS = 1000
GROWTH = 64 * 2**20  # bytes, after the first hundred; the bodies sum up to several times as much
PATHS = ("/v1/rerank", "/v2/rerank", "/rerank", "/score", "/v1/score", "/explain")
FIELDS = ("query", "documents", "texts", "text_1", "text_2", "passages", "top_n", "top_k", "max_tokens_per_doc",
          "rank_fields", "raw_scores", "return_documents", "truncate", "model")  # fmt: skip
VALUES = (
    None, True, 0, -1, 10**30, 1e308, "", " ", "text", "\ud800", "\x00", "x" * 5000, [], {}, [None], [[]], [{}],
    [{"text": 1}], ["a", 7], ["a"] * 50, {"text": "a"}, [{"text": "\udfff"}], ["\ud83d"], [""], TEXTS,
)  # fmt: skip
VALID = {"query": QUERY, "documents": TEXTS, "texts": TEXTS, "text_1": QUERY, "text_2": TEXTS, "passages": TEXTS}
RAW = (
    b"", b"{", b"null", b"[]", b'"a"', b"NaN", b'{"query": NaN}', b"\xff\xfe", b'{"query": "a", "query": ["b"]}',
    b"[" * 50_000, b'{"a":' * 20_000, b'{"query": ' + b"9" * 5000 + b"}", b"\x00" * 1000, b"x" * 300_000,
)  # fmt: skip
HEADERS = (
    {}, {"content-type": "text/plain"}, {"content-type": "multipart/form-data; boundary=a"},
    {"content-type": "application/json; charset=latin-1"}, {"content-encoding": "gzip"},
)  # fmt: skip


def malformed(draw):
    """The path, the body and the headers of a request that is wrong in some way, or happens to be right."""
    if draw.random() < 0.25:
        body = draw.choice(RAW)
    else:
        fields = dict(VALID) if draw.random() < 0.7 else {}
        fields |= {draw.choice(FIELDS): draw.choice(VALUES) for _ in range(draw.randrange(1, 4))}
        body = json.dumps(fields).encode()
        if draw.random() < 0.2:
            place = draw.randrange(len(body))
            body = body[:place] + bytes([draw.randrange(256)]) + body[place + 1 :]
    headers = {"content-type": "application/json"} if draw.random() < 0.8 else draw.choice(HEADERS)
    return draw.choice(PATHS), body, headers


def resident_memory():
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


@pytest.fixture(scope="module")
def draw():
    return random.Random(7)


@pytest.mark.parametrize("flag", [True, False])
def test_lone_surrogates_are_returned_as_they_came(served, flag):
    document = {"text": "\ud83d tides", "title": "\udfff"}
    body = json.dumps({"query": "tides", "documents": [document], "return_documents": flag, "rank_fields": ["text"]})
    served.client.headers["content-type"] = "application/json"
    answer = served.client.post("/v1/rerank", content=body)
    assert answer.status_code == 200
    assert answer.json()["results"][0].get("document") == (document if flag else None)
    wrong = served.client.post("/v1/rerank", content=body.replace('["text"]', '["\\ud800"]'))
    assert wrong.status_code == 422
    assert served.client.post("/v1/rerank", content=body.replace("tides", "\\ud800", 1)).json()["field"] == "query"


@pytest.mark.slow
def test_malformed_requests(serve, draw):
    served = serve(ServingSettings(max_body=200_000, max_characters=4000, max_documents=40))
    statuses, memory = [], 0
    for number in range(REQUESTS):
        path, body, headers = malformed(draw)
        answer = served.client.post(path, content=body, headers=headers)
        statuses.append(answer.status_code)
        assert answer.status_code < 500, (path, body[:200], answer.text)
        if answer.status_code != 200:
            assert {"message", "error", "error_type"} <= answer.json().keys(), (path, body[:200], answer.text)
        if number == 100:
            gc.collect()
            memory = resident_memory()
    gc.collect()
    assert resident_memory() - memory < GROWTH
    assert set(statuses) >= {200, 400, 413, 422}
    assert served.service.admission.in_flight == 0
    assert not served.service.batcher.waiting
    assert served.post("/v2/rerank", {"query": QUERY, "documents": TEXTS}).status_code == 200
