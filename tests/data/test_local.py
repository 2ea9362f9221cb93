from pathlib import Path

import pytest

from headrank.data import candidate_lists
from headrank.data.local import LocalCollection
from headrank.errors import FormatError, MissingFileError
from headrank.ranking import Query


def test_a_folder_as_a_whole(make_folder):
    collection = LocalCollection(make_folder())
    assert list(collection.queries) == ["q1", "q2", "q3", "q4"]
    assert collection.queries["q1"] == Query("q1", "what causes tides")
    assert [query.id for query in collection.judged_queries] == ["q1", "q2", "q3"]
    assert collection.qrels["q2"] == {"d3": 2, "d4": 1}
    assert collection.passage_count == 5
    assert [passage.id for passage in collection.passages()] == ["d1", "d2", "d3", "d4", "d5"]
    assert collection.lookup(["d5", "none", "d1"]) == {p.id: p for p in collection.passages() if p.id in ("d1", "d5")}
    assert list(collection.runs) == ["bm25"]
    assert collection.scoreddocs() is None


def test_the_folder_is_only_read(make_folder):
    folder = make_folder()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    collection = LocalCollection(folder)
    candidate_lists(collection, kind="run", depth=3)
    assert collection.fingerprint
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("file", ["docs.jsonl", "queries.tsv", "qrels.txt"])
def test_a_missing_file_is_named_with_what_is_there(make_folder, file):
    folder = make_folder(**{file.replace(".", "__"): None})
    there = ", ".join(sorted(path.name for path in folder.iterdir()))
    with pytest.raises(MissingFileError, match=f"no {file}.*the folder holds: {there}"):
        LocalCollection(folder)


@pytest.mark.parametrize("file", ["docs.jsonl", "queries.tsv", "qrels.txt"])
def test_an_empty_file_is_an_error(make_folder, file):
    with pytest.raises(FormatError, match=file):
        LocalCollection(make_folder(**{file.replace(".", "__"): ""}))


def test_a_missing_folder(tmp_path):
    with pytest.raises(MissingFileError, match="none: no such folder"):
        LocalCollection(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(FormatError, match="file: is not a folder"):
        LocalCollection(tmp_path / "file")


@pytest.mark.parametrize("file", ["docs.jsonl", "queries.tsv", "qrels.txt", "bm25.trec"])
def test_a_folder_in_place_of_a_file(make_folder, file):
    folder = make_folder()
    (folder / file).unlink()
    (folder / file).mkdir()
    with pytest.raises(FormatError, match=rf"{file}: (is|cannot be read \(Is) a (folder|directory)"):
        candidate_lists(LocalCollection(folder), kind="auto", depth=3)


def test_a_link_to_nothing_and_a_file_that_may_not_be_read(make_folder, monkeypatch):
    folder = make_folder(qrels__txt=None)
    (folder / "qrels.txt").symlink_to(folder / "elsewhere")
    with pytest.raises(FormatError, match=r"qrels\.txt: is a broken link"):
        LocalCollection(folder)

    def refuse(self, *_, **__):  # root may read everything
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FormatError, match=r"docs\.jsonl: cannot be read \(Permission denied\)"):
        LocalCollection(folder)


def test_two_query_files_are_ambiguous(make_folder):
    folder = make_folder(queries__jsonl='{"query_id": "q1", "text": "x"}\n')
    with pytest.raises(FormatError, match=r"both queries\.tsv and queries\.jsonl"):
        LocalCollection(folder)


def test_judgements_beyond_the_passages_and_queries_are_kept(make_folder):
    folder = make_folder(qrels={"q1": {"d1": 1, "beyond": 2}, "stranger": {"d1": 1}})
    assert LocalCollection(folder).qrels == {"q1": {"d1": 1, "beyond": 2}, "stranger": {"d1": 1}}


def test_judgements_of_other_queries_alone_are_an_error(make_folder):
    folder = make_folder(qrels={"x1": {"d1": 1}, "x2": {"d1": 1}})
    with pytest.raises(FormatError, match=r"qrels\.txt: .* 2 queries \('x1', 'x2'\).* 4 "):
        LocalCollection(folder)


def test_fingerprints_follow_the_content_and_not_the_place(make_folder):
    first, same = LocalCollection(make_folder("a")), LocalCollection(make_folder("b", run=None))
    assert (first.fingerprint, first.passages_fingerprint) == (same.fingerprint, same.passages_fingerprint)
    grades = LocalCollection(make_folder("c", qrels={"q1": {"d1": 2}}))
    assert grades.passages_fingerprint == first.passages_fingerprint
    assert grades.fingerprint != first.fingerprint
    texts = LocalCollection(make_folder("d", docs={"d1": "other"}))
    assert texts.passages_fingerprint != first.passages_fingerprint
