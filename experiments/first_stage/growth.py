"""Measure time, memory and disk of a BM25 index by number of passages, in a separate process per size.

python -m experiments.first_stage.growth 75000 150000 300000

Passages have 55 words from a Zipf distribution over a million words, about 385 characters, similar to MS MARCO's. They
are generated while they are read, so the measured memory is that of the index.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from headrank.data.bm25.index import BM25Parameters, bm25_index
from headrank.data.bm25.words import bm25s
from headrank.data.collections import Collection
from headrank.ranking import Passage, Qrels, Query

WORDS = 1_000_000  # size of the vocabulary
LENGTH = 55  # words per passage
BLOCK = 10_000  # passages generated at once
QUERIES = 50


class Synthetic(Collection):
    """Random passages, the same for the same number, without queries and judgements.

    count: the number of passages.
    """

    def __init__(self, count: int) -> None:
        super().__init__(f"synthetic/{count}")
        self._count = count

    @property
    def queries(self) -> dict[str, Query]:
        """No queries: an empty dict."""
        return {}

    @property
    def qrels(self) -> Qrels:
        """No judgements: an empty dict."""
        return {}

    @property
    def passage_count(self) -> int:
        """The requested number of passages."""
        return self._count

    @property
    def passages_fingerprint(self) -> str:
        """The name, because nothing is cached."""
        return self.name

    def passages(self, start: int = 0) -> Iterator[Passage]:
        """Yield all passages except the first `start`."""
        for first in range(start - start % BLOCK, self.passage_count, BLOCK):
            texts = drawn(first, BLOCK)
            for i in range(max(0, start - first), min(BLOCK, self.passage_count - first)):
                yield Passage(str(first + i), texts(i))

    def lookup(self, passage_ids: Iterable[str]) -> dict[str, Passage]:
        """Return passage id -> passage for these ids, for example `17` -> `Passage(...)`."""
        return {i: next(self.passages(int(i))) for i in passage_ids}


def drawn(seed: int, count: int, length: int = LENGTH):
    """Return a function that maps an index from 0 to `count` - 1 to a text of `length` random words."""
    numbers = np.minimum(np.random.default_rng(seed).zipf(1.15, size=(count, length)), WORDS)
    return lambda i: " ".join(f"w{n:05x}" for n in numbers[i])


def measure(count: int) -> dict[str, float]:
    """Build, open and search an index of `count` passages."""
    with tempfile.TemporaryDirectory() as cache:
        collection = Synthetic(count)
        bm25s()  # imported before the measurement
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        for _ in collection.passages():
            pass
        reading = time.process_time() - start
        start = time.process_time()
        index = bm25_index(collection, BM25Parameters(), Path(cache))
        building = time.process_time() - start - reading
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        facts = json.loads((index.folder / "index.json").read_text())
        texts = drawn(1, QUERIES, 8)
        queries = [Query(str(i), texts(i)) for i in range(QUERIES)]
        start = time.process_time()
        index.search(queries, 1000)
        searching = time.process_time() - start
        size = sum(path.stat().st_size for path in index.folder.iterdir())
    return {
        "passages": count,
        "words": facts["words"],
        "postings": facts["postings"],
        "seconds to build": building,
        "MiB before": before / 2**10,
        "MiB at most": peak / 2**10,
        "MB on disk": size / 1e6,
        "ms a query": 1000 * searching / QUERIES,
    }


def main() -> None:
    """Print one line per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="+", type=int)
    context = multiprocessing.get_context("spawn")  # a fork would inherit the parent's peak memory
    for size in parser.parse_args().sizes:
        with context.Pool(1) as pool:
            facts = pool.apply(measure, (size,))
        print(", ".join(f"{name} {value:,.0f}" for name, value in facts.items()), flush=True)


if __name__ == "__main__":
    main()
