"""Load test of `headrank serve`: 32 clients against one, and a kill under load. See README.md.

python -m experiments.serving.load smollm2-135m-instruct --heads all --seconds 60
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from headrank.data import load_collection
from headrank.io.files import atomic_write

PASSAGES = 10  # of a request
SETS = 4  # sets of passages that the requests of `shared` are about
CLIENTS = 32

Body = dict[str, Any]


class Server:
    """A `headrank serve` process at a free port."""

    def __init__(self, arguments: list[str]) -> None:
        start = time.monotonic()
        command = [sys.executable, "-m", "headrank.cli.main", "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        found = next((m for line in self.process.stderr if (m := re.search(r"http://[\d.]+:\d+", line))), None)
        if found is None:
            raise SystemExit(f"the server did not start: exit code {self.process.wait()}")
        self.url, self.start_seconds = found[0], time.monotonic() - start

    def memory(self) -> int:
        """The process's resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024  # pyright: ignore[reportOptionalSubscript]

    def processor_seconds(self) -> float:
        """The processor seconds that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def counts(self, name: str) -> tuple[float, float]:
        """The sum and the count of one of the server's histograms."""
        text = httpx.get(f"{self.url}/metrics").text
        values = {key: float(re.search(rf"^{name}_{key} (\S+)$", text, re.M)[1]) for key in ("sum", "count")}  # pyright: ignore
        return values["sum"], values["count"]


def make_requests(shared: bool, passages: int = PASSAGES) -> Iterator[Body]:
    """Endless requests of queries and passages of the sample collection.

    shared: the passages are one of `SETS` sets (a query is never asked twice in a row); else they are drawn for each
    request.
    """
    collection, draw = load_collection("sample/test"), random.Random(0)
    queries = [query.text for query in collection.queries.values()]
    texts = [passage.text for passage in collection.passages()]
    sets = [draw.sample(texts, passages) for _ in range(SETS)]
    number = 0
    while True:
        number += 1
        texts_of = draw.choice(sets) if shared else draw.sample(texts, passages)
        yield {"query": f"{draw.choice(queries)} {number}", "texts": texts_of}


class Outcomes:
    """Statuses or errors of the requests, and the seconds of the answered ones."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.seconds: list[float] = []

    async def ask(self, client: httpx.AsyncClient, body: Body) -> None:
        """Send a request and note what came."""
        start = time.monotonic()
        try:
            answer = await client.post("/rerank", json=body)
        except httpx.HTTPError as error:
            self.kinds[type(error).__name__] += 1
            await asyncio.sleep(0.1)
            return
        self.kinds[str(answer.status_code)] += 1
        self.seconds.append(time.monotonic() - start)


async def load(url: str, requests: Iterator[Body], clients: int, going_on: Callable[[], bool]) -> Outcomes:
    """Clients that each send their next request when the last one is answered, while `going_on()`."""
    outcomes = Outcomes()

    async def client() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=120) as one:
            while going_on():
                await outcomes.ask(one, next(requests))

    await asyncio.gather(*(client() for _ in range(clients)))
    return outcomes


def measure(server: Server, *, shared: bool, clients: int, seconds: float, passages: int) -> dict[str, Any]:
    """Throughput, latency, errors, batches and memory of one load."""
    requests, before = make_requests(shared, passages), server.memory()
    lists, batches = server.counts("headrank_batch_lists")
    used, start = server.processor_seconds(), time.monotonic()
    outcomes = asyncio.run(load(server.url, requests, clients, lambda: time.monotonic() < start + seconds))
    took, used = time.monotonic() - start, server.processor_seconds() - used
    lists_after, batches_after = server.counts("headrank_batch_lists")
    p50, p95 = np.percentile(outcomes.seconds, [50, 95]) if outcomes.seconds else (None, None)
    return {
        "passages": "shared" if shared else "drawn",
        "clients": clients,
        "requests": sum(outcomes.kinds.values()),
        "per_second": outcomes.kinds["200"] / took,
        "per_processor_second": outcomes.kinds["200"] / used,
        "p50": p50,
        "p95": p95,
        "errors": {kind: count for kind, count in outcomes.kinds.items() if kind != "200"},
        "lists_per_batch": (lists_after - lists) / max(1.0, batches_after - batches),
        "memory_mb": [before, server.memory()],
    }


def kill(arguments: list[str], passages: int) -> dict[str, Any]:
    """`kill -9` under the load of 8 clients, then a restart at the same port: what clients get, seconds until ready."""
    server = Server(arguments)
    port, start = server.url.rsplit(":", 1)[1], time.monotonic()
    restarted: list[Server] = []
    outcomes = Outcomes()

    async def run() -> None:
        requests, stop = make_requests(False, passages), asyncio.Event()

        async def client() -> None:
            async with httpx.AsyncClient(base_url=server.url, timeout=120) as one:
                while not stop.is_set():
                    await outcomes.ask(one, next(requests))

        clients = [asyncio.create_task(client()) for _ in range(8)]
        await asyncio.sleep(10)
        server.process.kill()
        server.process.wait()
        restarted.append(await asyncio.to_thread(Server, [*arguments, "--port", port]))
        await asyncio.sleep(5)
        stop.set()
        await asyncio.gather(*clients)

    asyncio.run(run())
    with contextlib.closing(restarted[0].process.stderr):  # pyright: ignore[reportArgumentType]
        restarted[0].process.terminate()
        code = restarted[0].process.wait()
    return {
        "outcomes": dict(outcomes.kinds),
        "ready_seconds": restarted[0].start_seconds,
        "exit_code_after_sigterm": code,
        "seconds": time.monotonic() - start,
    }


def loads(arguments: list[str], seconds: float, passages: int) -> dict[str, Any]:
    """Every load on one server, after a warm-up."""
    server = Server(arguments)
    results: dict[str, Any] = {"start_seconds": server.start_seconds, "loads": []}
    try:
        measure(server, shared=False, clients=1, seconds=5, passages=passages)  # warm up
        for shared in (False, True):
            for clients in (1, CLIENTS):
                one = measure(server, shared=shared, clients=clients, seconds=seconds, passages=passages)
                results["loads"].append(one)
                print(json.dumps(one), flush=True)
    finally:
        server.process.terminate()
        results["exit_code"] = server.process.wait()
    return results


def main() -> None:
    """Run the loads and the kill, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of each load")
    parser.add_argument("--passages", type=int, default=PASSAGES, help="of a request")
    parser.add_argument("--only", choices=("loads", "kill"), help="one of the two parts; else both")
    parser.add_argument("--output", type=Path, help="the results as JSON")
    options, arguments = parser.parse_known_args()
    results: dict[str, Any] = {}
    if options.only != "kill":
        results |= loads(arguments, options.seconds, options.passages)
    if options.only != "loads":
        results["kill"] = kill(arguments, options.passages)
        print(json.dumps(results["kill"]))
    if options.output is not None:
        with atomic_write(options.output) as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
