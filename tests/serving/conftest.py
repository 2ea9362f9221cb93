"""Running servers: in a thread of this process, with the tiny model."""

import asyncio
import contextlib
import socket
import threading
import time

import httpx
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
import uvicorn

from headrank import Reranker
from headrank.serving.app import make_app
from headrank.serving.settings import ServingSettings
from tests.conftest import PASSAGES

QUERY = "what causes tides"
TEXTS = list(PASSAGES.values())


@pytest.fixture(scope="session")
def reranker(model_folder) -> Reranker:
    return Reranker.from_pretrained(model_folder, [(1, 2), (0, 3)], device="cpu")


class Served:
    """A running server: its address, its service, and a client."""

    def __init__(self, url: str, app) -> None:
        self.url, self.app, self.service = url, app, app.state.service
        self.client = httpx.Client(base_url=url, timeout=60)

    def post(self, path, body=None, **more):
        return self.client.post(path, json=body, **more)


@contextlib.contextmanager
def running(app):
    """The app on a free port of the loopback interface."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        served = Served(f"http://127.0.0.1:{listener.getsockname()[1]}", app)
        try:
            yield served
        finally:
            served.client.close()
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def serve(reranker):
    """Starts servers with given settings, and optionally another reranker."""
    with contextlib.ExitStack() as stack:

        def start(settings=None, by=None):
            return stack.enter_context(running(make_app(by or reranker, settings or ServingSettings())))

        yield start


@pytest.fixture(scope="session")
def served(reranker):
    """A server with the default settings, for tests that leave it as it is."""
    with running(make_app(reranker, ServingSettings())) as found:
        yield found


class Held:
    """Holds the model until `release`. `batches`: the number of lists of each call of `rank_many`, from now on."""

    def __init__(self, service, monkeypatch) -> None:
        self.gate, self.started = threading.Event(), threading.Event()
        self.batches: list[int] = []
        rank_many = service.reranker.rank_many

        def held(lists, top_k=None):
            self.batches.append(len(lists))
            self.started.set()
            assert self.gate.wait(60)
            return rank_many(lists, top_k)

        monkeypatch.setattr(service.reranker, "rank_many", held)

    def release(self):
        self.gate.set()


def wait_for(condition, seconds=20):
    """Return once the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.005)
