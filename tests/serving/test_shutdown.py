"""`headrank serve`: start, errors, and the end by a signal."""

import concurrent.futures
import os
import re
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from headrank import Reranker
from headrank.cli.serve import serve as serve_command
from tests.serving.conftest import QUERY, TEXTS

KEY = "a-secret-key"


@pytest.fixture(scope="module")
def saved(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "reranker"
    Reranker.from_pretrained(model_folder, [(1, 2), (0, 3)], device="cpu").save(folder)
    return folder


@pytest.fixture
def process(saved):
    """A running `headrank serve`; its attribute `url` is its address."""
    command = [sys.executable, "-m", "headrank.cli.main", "serve", str(saved), "--port", "0"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HEADRANK_API_KEY": KEY}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as started:
        try:
            found = next(found for line in started.stderr if (found := re.search(r"http://[\d.]+:\d+", line)))
            started.url = found[0]
            yield started
        finally:
            started.kill()


def test_a_signal_lets_accepted_requests_finish_and_the_log_has_no_text(process):
    headers = {"authorization": f"Bearer {KEY}"}
    long = {"query": QUERY, "texts": [f"{text} {n} " * 40 for n in range(40) for text in TEXTS]}
    with (
        httpx.Client(base_url=process.url, timeout=60, headers=headers) as client,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        assert client.post("/rerank", json={"query": QUERY, "texts": TEXTS}).status_code == 200
        assert client.post("/rerank", json={**long, "truncate": False}).status_code == 422
        assert httpx.post(f"{process.url}/rerank", json=long).status_code == 401
        accepted = [
            pool.submit(httpx.post, f"{process.url}/rerank", json=long, timeout=60, headers=headers) for _ in range(4)
        ]
        while client.get("/health").json()["requests_in_flight"] < 4:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        while (ready := client.get("/ready")).status_code == 200:
            time.sleep(0.01)
        refused = client.post("/rerank", json=long)
        assert ready.status_code == refused.status_code == 503
        assert refused.json()["error_type"] == "unavailable"
        answers = [one.result() for one in accepted]
    assert [one.status_code for one in answers] == [200] * 4
    assert {len(one.json()) for one in answers} == {200}
    log = process.stderr.read()
    assert process.wait(30) == 0
    assert "shut down" in log
    assert not [text for text in (QUERY, *TEXTS, KEY) if text in log]


def ended(capsys, *arguments, **options):
    """The exit code and the last line of stderr of `headrank serve` with wrong arguments."""
    defaults = {
        "host": "127.0.0.1",
        "port": 0,
        "heads": None,
        "device": "cpu",
        "dtype": "float32",
        "max_queue": 1,
        "max_documents": 1,
        "max_characters": 1,
        "max_body": 1,
        "tokens_per_batch": None,
        "api_key": None,
    }
    with pytest.raises(SystemExit) as end:
        serve_command(*map(str, arguments), **{**defaults, **options})
    return end.value.code, capsys.readouterr().err.splitlines()[-1]


def test_wrong_arguments_end_with_one_line(saved, capsys):
    code, line = ended(capsys, "no/such/folder")
    assert (code, "no/such/folder" in line) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = ended(capsys, saved, port=port)
    assert (code, str(port) in line) == (2, True)
    code, line = ended(capsys, saved, api_key="")
    assert (code, "api_key" in line) == (2, True)
    code, line = ended(capsys, saved, dtype="bf16")
    assert (code, "bfloat16" in line) == (2, True)


def test_without_the_extra_the_command_names_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, line = ended(capsys, "any")
    assert (code, "uvicorn" in line, "[serve]" in line) == (2, True, True)
