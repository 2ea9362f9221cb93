"""Building a BM25 index: in parts, and again after an interruption."""

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import bm25s
import numpy as np
import pytest

from headrank.data.bm25 import build as bm25_build
from headrank.data.bm25.index import BM25Index, BM25Method, BM25Parameters, bm25_index
from headrank.data.bm25.words import words
from headrank.data.local import LocalCollection
from headrank.errors import FormatError
from headrank.ranking import Passage, Query

WORDS = ["tide", "Moon", "é", "日本", "ship", "yeast", "bread", "sea", "harbour", "rock", "x", "the"]


def random_texts(count, seed=0):
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randrange(0, 12))) for _ in range(count)]


@pytest.mark.parametrize("method", BM25Method)
@pytest.mark.parametrize("part", [1, 60, 10_000])
@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_scores_are_those_of_bm25s_own_index_in_however_many_parts(method, part, block, tmp_path, monkeypatch):
    monkeypatch.setattr(bm25_build, "PART_CHARACTERS", part)
    monkeypatch.setattr(bm25_build, "BLOCK_POSTINGS", block)
    texts, parameters = random_texts(40), BM25Parameters(method=method)
    index = BM25Index.build([Passage(f"d{i}", t) for i, t in enumerate(texts)], parameters, tmp_path / "index")
    assert list(tmp_path.iterdir()) == [tmp_path / "index"]
    own = bm25s.BM25(k1=0.9, b=0.4, method=method.value)
    own.index(words(texts, parameters).by_text(), create_empty_token=False, show_progress=False)
    for query in ("moon", "tide ships of 日本", "é x é"):
        (split,) = words([query], parameters).by_text()
        expected = own.get_scores(split)
        ((numbers, scores),) = index.best([Query("q", query)], 40)
        assert sorted(numbers) == np.flatnonzero(expected > 0).tolist()
        assert np.array_equal(scores, expected[numbers])


def test_ids_of_any_script_and_order_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(bm25_build, "PART_CHARACTERS", 5)
    ids = ["Z", "ø_(film)", "a", "日本 1", "-", "\ud800"]
    index = BM25Index.build([Passage(i, "same") for i in ids], BM25Parameters(), tmp_path / "index")
    assert index.search([Query("q", "same")], 10)["q"].passage_ids == tuple(ids)


def counted(collection, read):
    """The collection, noting in `read` the number of each passage that is given out."""
    whole = collection.passages

    def passages(start=0):
        for number, passage in enumerate(whole(start), start):
            read.append(number)
            yield passage

    collection.passages = passages
    return collection


def large_folder(make_folder, name="large"):
    return make_folder(name, docs={f"d{i}": text for i, text in enumerate(random_texts(50))}, run=None)


def test_a_build_that_stops_goes_on_after_the_last_whole_part(make_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(bm25_build, "PART_CHARACTERS", 200)
    folder, cache = large_folder(make_folder), tmp_path / "cache"
    queries = [Query("q", "tide of the moon"), Query("r", "yeast")]
    expected = bm25_index(LocalCollection(folder), BM25Parameters(), tmp_path / "whole").search(queries, 9)
    collection, whole = LocalCollection(folder), bm25_build.write_part
    parts: list[Path] = []

    def fail(part, passages, parameters):
        if len(parts) == 3:
            (part / "half").write_text("")
            raise OSError("disk full")
        parts.append(part)
        whole(part, passages, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(bm25_build, "write_part", fail)
        with pytest.raises(OSError, match="disk full"):
            bm25_index(collection, BM25Parameters(), cache)
    (work,) = (cache / "bm25").iterdir()  # no index
    done = bm25_build.passages_done(work)
    assert 0 < done < 50
    read: list[int] = []
    index = bm25_index(counted(collection, read), BM25Parameters(), cache)
    assert read == list(range(done, 50))
    assert index.search(queries, 9) == expected
    assert list((cache / "bm25").iterdir()) == [index.folder]


def test_a_build_that_stops_in_the_merge_reads_no_passage_again(make_folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    collection = LocalCollection(large_folder(make_folder))

    def fail(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bm25_build, "_block", fail)
        with pytest.raises(KeyboardInterrupt):
            bm25_index(collection, BM25Parameters(), cache)
    read: list[int] = []
    assert bm25_index(counted(collection, read), BM25Parameters(), cache).search([Query("q", "moon")], 1)["q"].results
    assert read == []


def test_a_collection_that_gives_a_passage_twice_is_refused(make_folder, tmp_path, monkeypatch):
    collection = LocalCollection(large_folder(make_folder))
    passages = list(collection.passages())
    monkeypatch.setattr(collection, "passages", lambda start=0: iter([*passages, passages[7]][start:]))
    monkeypatch.setattr(bm25_build, "PART_CHARACTERS", 200)
    with pytest.raises(FormatError, match=re.escape(repr(passages[7].id))):
        bm25_index(collection, BM25Parameters(), tmp_path / "cache")


KILLED = """
import sys, pathlib
from headrank.data.bm25 import build as bm25_build
from headrank.data.bm25.index import BM25Parameters, bm25_index
from headrank.data.local import LocalCollection
from headrank.errors import ConfigError, FormatError
bm25_build.PART_CHARACTERS = 200
whole = bm25_build.write_part
def slow(folder, passages, parameters):
    whole(folder, passages, parameters)
    if folder.name.startswith(".part-00002"):
        print("third", flush=True)
        sys.stdin.read()
bm25_build.write_part = slow
bm25_index(LocalCollection(pathlib.Path(sys.argv[1])), BM25Parameters(), pathlib.Path(sys.argv[2]))
"""


def test_a_killed_process_leaves_its_parts_and_no_lock(make_folder, tmp_path):
    folder, cache = large_folder(make_folder), tmp_path / "cache"
    command = [sys.executable, "-c", KILLED, str(folder), str(cache)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"third\n"
        process.send_signal(signal.SIGKILL)
    (work,) = (cache / "bm25").iterdir()
    assert len(bm25_build.part_folders(work)) == 2
    done, read = bm25_build.passages_done(work), []
    index = bm25_index(counted(LocalCollection(folder), read), BM25Parameters(), cache)
    assert read == list(range(done, 50))
    assert list((cache / "bm25").iterdir()) == [index.folder]
