"""Caches: a damaged file is made again with a warning that names it, and never changes a result."""

import json
import shutil

import pytest

from headrank.data.bm25.index import BM25Parameters, bm25_run, index_folder
from headrank.data.local import LocalCollection
from headrank.io.checksums import damaged_file, write_folder_sums
from headrank.model.loading import default_model as embedded
from headrank.stages.run_cache import RunCache
from tests.io.test_artifacts import cut, edit_text


@pytest.fixture
def collection(make_folder):
    return LocalCollection(make_folder())


def search(collection, cache):
    run = bm25_run(collection, list(collection.queries.values()), 3, BM25Parameters(), cache)
    return {query: (ranking.passage_ids, ranking.scores) for query, ranking in run.items()}


INDEX = ["words.utf8", "words.starts.npy", "passage_ids.utf8", "data.npy", "indices.npy", "indptr.npy", "index.json"]


@pytest.mark.parametrize("name", INDEX)
def test_a_damaged_bm25_index_is_built_again(collection, tmp_path, caplog, name):
    cache = tmp_path / "cache"
    undamaged = search(collection, cache)
    path = index_folder(collection, BM25Parameters(), cache) / name
    content = path.read_bytes()
    for damage in (cut, edit_text, type(path).unlink):
        caplog.clear()
        damage(path)
        shutil.rmtree(cache / "bm25_runs")
        assert search(collection, cache) == undamaged
        assert path.read_bytes() == content
        assert str(path) in caplog.text


def test_a_half_word_list_does_not_change_a_build_that_is_resumed(collection, tmp_path, caplog, monkeypatch):
    from headrank.data.bm25 import build as bm25_build
    from headrank.data.bm25 import index as bm25

    monkeypatch.setattr(bm25_build, "PART_CHARACTERS", 60)
    undamaged = search(collection, tmp_path / "straight")
    with monkeypatch.context() as patch:
        patch.setattr(bm25, "merge_parts", None)
        with pytest.raises(TypeError):
            search(collection, tmp_path / "cache")
    work = index_folder(collection, BM25Parameters(), tmp_path / "cache")
    (part,) = work.with_name(f"{work.name}.parts").glob("part-00001")
    cut(part / "words.utf8")
    assert search(collection, tmp_path / "cache") == undamaged
    assert str(part / "words.utf8") in caplog.text


@pytest.mark.parametrize("damage", [cut, edit_text])
def test_damaged_bm25_results_are_searched_again(collection, tmp_path, caplog, damage):
    undamaged = search(collection, tmp_path)
    (path,) = (tmp_path / "bm25_runs").glob("*.npz")
    content = path.read_bytes()
    damage(path)
    assert search(collection, tmp_path) == undamaged
    assert str(path) in caplog.text
    assert path.read_bytes()[-100:] == content[-100:]
    caplog.clear()
    assert search(collection, tmp_path) == undamaged
    assert str(path) not in caplog.text


@pytest.mark.parametrize("damage", [cut, edit_text])
@pytest.mark.parametrize("name", ["run.trec", "contexts.json"])
def test_a_damaged_cached_run_is_computed_again(tmp_path, caplog, damage, name):
    made = []

    def write(run):
        made.append(run)
        run.write_text("q Q0 d 1 1.0 first\n")
        run.with_suffix(".contexts.json").write_text('{"lists": []}')

    def make(place):
        folder = tmp_path / place
        folder.mkdir()
        RunCache(tmp_path / "cache").make("key", folder / "one.trec", folder / "one.contexts.json", "t", write)
        return (folder / "one.trec").read_text().split()[:5], (folder / "one.contexts.json").read_text()

    first = make("a")
    assert make("b") == first
    assert len(made) == 1
    path = tmp_path / "cache/runs/key" / name
    damage(path)
    assert make("c") == first
    assert len(made) == 2
    assert str(path) in caplog.text
    assert make("d") == first
    assert len(made) == 2


@pytest.fixture
def converted(tmp_path, monkeypatch):
    """The embedded model with a conversion that writes two small files."""
    monkeypatch.setenv("HEADRANK_CACHE", str(tmp_path / "cache"))
    calls = []

    def convert(gguf, folder):
        calls.append(gguf)
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
        (folder / "model.safetensors").write_bytes(bytes(range(100)))

    monkeypatch.setattr(embedded, "_gguf_file", lambda: tmp_path / "model.gguf")
    monkeypatch.setattr(embedded, "convert_gguf", convert)
    return calls


@pytest.mark.parametrize("damage", [cut, edit_text])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_converted_model_is_converted_again(converted, caplog, name, damage):
    folder = embedded.embedded_model_folder()
    content = (folder / name).read_bytes()
    embedded.embedded_model_folder()
    assert len(converted) == 1
    damage(folder / name)
    assert embedded.embedded_model_folder() == folder
    assert len(converted) == 2
    assert (folder / name).read_bytes() == content
    assert str(folder / name) in caplog.text


def test_a_large_file_is_hashed_again_after_a_change_of_time(tmp_path, monkeypatch):
    from headrank.io import checksums

    monkeypatch.setattr(checksums, "LARGE", 10)
    (tmp_path / "weights").write_bytes(bytes(100))
    write_folder_sums(tmp_path)
    hashed = []
    plain = checksums.checksum
    monkeypatch.setattr(checksums, "checksum", lambda path: hashed.append(path) or plain(path))
    assert damaged_file(tmp_path) is None
    assert hashed == []
    edit_text(tmp_path / "weights")
    assert damaged_file(tmp_path) == tmp_path / "weights"
    (tmp_path / "weights").write_bytes(bytes(100))  # a copy: another time, the same content
    assert damaged_file(tmp_path) is None
    assert len(hashed) == 2
