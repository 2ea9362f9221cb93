import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from headrank.data.bm25 import index as bm25
from headrank.data.bm25.index import BM25Index, BM25Method, BM25Parameters, bm25_index, bm25_run
from headrank.data.local import LocalCollection
from headrank.errors import ConfigError
from headrank.ranking import Passage, Query


def search(texts, query, depth=10, **parameters):
    passages = [Passage(f"d{i}", text) for i, text in enumerate(texts)]
    with TemporaryDirectory() as folder:
        index = BM25Index.build(passages, BM25Parameters(**parameters), Path(folder) / "index")
        return index.search([Query("q", query)], depth)["q"]


def test_scores_are_those_of_lucenes_formula():
    texts = ["cat cat dog", "cat bird", "fish", "dog"]
    found = search(texts, "cat dog cat")
    length = np.array([3, 2, 1, 1])
    idf = np.log(1 + (4 - 2 + 0.5) / (2 + 0.5))  # cat and dog are in two passages each

    def gain(count):
        return idf * count / (count + 0.9 * (1 - 0.4 + 0.4 * length / length.mean()))

    expected = 2 * gain(np.array([2, 1, 0, 0])) + gain(np.array([1, 0, 0, 1]))  # the query's cat counts twice
    assert found.passage_ids == ("d0", "d1", "d3")
    assert found.scores == pytest.approx(expected[[0, 1, 3]].tolist(), rel=1e-5)


def test_words_are_stemmed_lower_cased_and_freed_of_stop_words():
    assert search(["The Tides", "the moon"], "TIDE of the").passage_ids == ("d0",)
    assert search(["The Tides", "the moon"], "tide", stemmer=None).passage_ids == ()
    assert search(["tides the", "the moon"], "the", stop_words=None).passage_ids == ("d0", "d1")


def test_words_of_one_character_and_other_scripts_count():
    assert search(["vitamin c", "vitamin d", "Überraschung 日本"], "c").passage_ids == ("d0",)
    assert search(["vitamin c", "vitamin d", "Überraschung 日本"], "日本").passage_ids == ("d2",)


def test_jax_is_left_alone(tmp_path):
    """bm25s runs it where it is installed, and JAX would take most of a GPU."""
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax/__init__.py").write_text("print('JAX was imported')")
    (tmp_path / "jax/lax.py").write_text("def top_k(values, k): print('JAX was run')")
    code = "from headrank.data.bm25.words import bm25s; bm25s().tokenize; print('ready'); import jax"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["ready", "JAX was imported"]


@pytest.mark.parametrize("depth", [1, 3, 7, 20])
def test_equal_scores_are_in_the_collections_order_where_the_depth_cuts(depth):
    found = search(["same text"] * 10 + ["text"], "same", depth)
    assert found.passage_ids == tuple(f"d{i}" for i in range(10))[:depth]


@given(values=st.lists(st.integers(-1, 3), min_size=1, max_size=30), depth=st.integers(1, 35))
def test_the_best_are_those_of_a_full_stable_sort(values, depth):
    scores = np.array(values, dtype=np.float32)
    expected = [i for i in sorted(range(len(values)), key=lambda i: -values[i]) if values[i] > 0][:depth]
    assert bm25._best(scores, depth).tolist() == expected


@pytest.mark.parametrize("query", ["the of and", "unknownword", "?!", "\x00"])
def test_a_query_without_known_words_finds_nothing(query):
    assert search(["a moon", ""], query).results == ()


def test_empty_and_enormous_and_repeated_texts():
    found = search(["", "moon " * 200_000, "moon", "moon", "!!"], "moon")
    assert set(found.passage_ids) == {"d1", "d2", "d3"}
    assert found.passage_ids.index("d2") + 1 == found.passage_ids.index("d3")


def test_one_passage():
    assert search(["the moon"], "moon").passage_ids == ("d0",)


@pytest.mark.parametrize("texts", [[], [""], ["the of", "!?"]])
def test_nothing_to_index_is_an_error(texts):
    with pytest.raises(ValueError, match=f"no word in {len(texts)} passages"):
        search(texts, "moon")


@pytest.mark.parametrize(("name", "value"), [("k1", -1.0), ("k1", float("nan")), ("b", 1.5)])
def test_parameters_without_meaning_are_refused(name, value):
    with pytest.raises(ConfigError, match=rf"\b{name}\b.*{re.escape(str(value))}"):
        BM25Parameters(**{name: value})


def test_depth_below_one_is_refused():
    with pytest.raises(ValueError, match="depth 0"):
        search(["moon"], "moon", 0)


def test_the_cached_index_is_used_and_gives_the_same(make_folder, tmp_path, monkeypatch):
    collection = LocalCollection(make_folder())
    queries = list(collection.queries.values())
    cache = tmp_path / "cache"
    first = bm25_index(collection, BM25Parameters(), cache).search(queries, 3)
    assert first["q1"].passage_ids[0] == "d1"
    monkeypatch.setattr(BM25Index, "build", None)  # a second build would fail
    again = bm25_index(LocalCollection(collection.path), BM25Parameters(), cache)
    assert isinstance(again._retriever.scores["data"], np.memmap)
    assert again.search(queries, 3) == first


def test_other_parameters_and_other_passages_get_an_index_of_their_own(make_folder, tmp_path):
    cache = tmp_path / "cache"
    collection = LocalCollection(make_folder("a"))
    changed = LocalCollection(make_folder("b", docs={"d1": "moon", "d2": "sun"}))
    for one, parameters in [
        (collection, BM25Parameters()),
        (collection, BM25Parameters(k1=1.2)),
        (collection, BM25Parameters(method=BM25Method.ATIRE)),
        (collection, BM25Parameters(stemmer=None)),
        (changed, BM25Parameters()),
    ]:
        bm25_index(one, parameters, cache)
    assert len(list((cache / "bm25").iterdir())) == 5


def test_a_second_process_waits_for_the_first(make_folder, tmp_path, caplog):
    collection, cache = LocalCollection(make_folder()), tmp_path / "cache"
    (cache / "locks").mkdir(parents=True)
    other = FileLock(cache / "locks" / f"bm25_{bm25.index_folder(collection, BM25Parameters(), cache).name}")
    other.acquire()
    caplog.set_level("INFO")
    released: list[float] = []

    def release(record):
        if "waiting" in record.getMessage():
            other.release()
            released.append(time.monotonic())
        return True

    caplog.handler.addFilter(release)
    bm25_index(collection, BM25Parameters(), cache)
    caplog.handler.removeFilter(release)
    assert released


def test_what_was_found_is_kept(make_folder, tmp_path, monkeypatch):
    collection, cache = LocalCollection(make_folder()), tmp_path / "cache"
    queries = [*collection.queries.values(), Query("none", "unknownword")]
    first = bm25_run(collection, queries, 3, BM25Parameters(), cache)
    assert first == bm25_index(collection, BM25Parameters(), cache).search(queries, 3)
    assert first["none"].results == ()
    assert len(list((cache / "bm25_runs").glob("*.npz"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(BM25Index, "best", None)  # a second search would fail
        assert bm25_run(LocalCollection(collection.path), queries, 3, BM25Parameters(), cache) == first
    assert bm25_run(collection, queries, 2, BM25Parameters(), cache)["q1"].passage_ids == first["q1"].passage_ids[:2]
    assert len(list((cache / "bm25_runs").glob("*.npz"))) == 2
