"""The files of a collection's folder: BEIR's layout, compressed files, first-stage runs."""

import gzip
import json

import pytest

from headrank.data import DataSettings, candidate_lists, load_collection, load_data
from headrank.data.folder import run_files
from headrank.errors import FormatError, MissingFileError
from tests.conftest import PASSAGES, QRELS, QUERIES

HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def beir(tmp_path):
    """A folder in BEIR's layout with the splits test and dev."""
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": i, "title": "", "text": text, "metadata": {}} for i, text in PASSAGES.items()]
    queries = [{"_id": i, "text": text, "metadata": {}} for i, text in QUERIES.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in corpus))
    (folder / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in queries))
    for split, names in (("test", ("q1", "q2")), ("dev", ("q3",))):
        rows = [f"{q}\t{d}\t{grade}\n" for q in names for d, grade in QRELS[q].items()]
        (folder / "qrels" / f"{split}.tsv").write_text(HEADER + "".join(rows))
    return folder


def compress(folder):
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def judged(source):
    return [query.id for query in load_collection(source).judged_queries]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_beir_folder_and_its_splits(beir, compressed, monkeypatch):
    if compressed:
        compress(beir)
    assert judged(str(beir)) == judged(f"{beir}:test") == ["q1", "q2"]
    assert judged(f"{beir}:dev") == ["q3"]
    monkeypatch.chdir(beir.parent)
    assert judged("beir:dev") == ["q3"]
    with pytest.raises(FormatError, match=r"train.*dev, test"):
        judged(f"{beir}:train")


def test_without_a_test_split_the_only_one_or_a_named_one(beir):
    (beir / "qrels" / "test.tsv").rename(beir / "qrels" / "train.tsv")
    with pytest.raises(FormatError, match=r"2 splits.*dev, train"):
        judged(beir)
    (beir / "qrels" / "dev.tsv").unlink()
    assert judged(beir) == ["q1", "q2"]
    (beir / "qrels" / "train.tsv").unlink()
    with pytest.raises(FormatError, match="0 splits"):
        judged(beir)


def test_a_file_in_two_forms_is_ambiguous(beir, make_folder):
    (beir / "qrels.txt").write_text("q3 0 d5 3\n")
    with pytest.raises(FormatError, match=r"qrels\.txt and qrels"):
        judged(beir)
    assert judged(f"{beir}:test") == ["q1", "q2"]
    folder = make_folder()
    (folder / "docs.jsonl.gz").write_bytes(gzip.compress((folder / "docs.jsonl").read_bytes()))
    with pytest.raises(FormatError, match=r"docs\.jsonl and docs\.jsonl\.gz"):
        load_collection(folder)


def test_a_folder_whose_name_has_a_colon(make_folder):
    assert judged(make_folder("a:b")) == ["q1", "q2", "q3"]
    with pytest.raises(MissingFileError, match="none"):
        load_collection("/none:test")


def test_a_compressed_folder_is_the_folder_itself(make_folder):
    plain, compressed = make_folder("plain"), make_folder("compressed")
    compress(compressed)
    first, second = (load_collection(folder) for folder in (plain, compressed))
    assert first.fingerprint == second.fingerprint
    lists = [candidate_lists(one, kind="auto", depth=2).lists for one in (first, second)]
    assert lists[0] == lists[1]


LINE = "q1 Q0 d1 1 1.5 tag\n"


@pytest.mark.parametrize("name", ["a.trec", "a.run", "a.txt", "a.trec.gz", "a.run.gz", "a.txt.gz"])
def test_a_run_is_found_under_every_name(make_folder, name):
    folder = make_folder(run=None, notes__txt="six words that are no run\n")
    (folder / "qrels.txt").write_text("q1 0 d1 1\n")
    data = LINE.encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert run_files(folder) == {"a": folder / name}
    found = candidate_lists(load_collection(folder), kind="auto", depth=5)
    assert [item.passage_ids for item in found.lists] == [("d1",)]


def test_runs_with_one_stem_keep_their_extensions(make_folder):
    folder = make_folder(bm25__run=LINE, other__txt=LINE)
    assert list(run_files(folder)) == ["bm25.run", "bm25.trec", "other"]
    with pytest.raises(ValueError, match=r"run_path.*bm25\.run, bm25\.trec, other"):
        candidate_lists(load_collection(folder), kind="auto", depth=5)
    found = candidate_lists(load_collection(folder), kind="auto", depth=5, run_path="bm25.run")
    assert [item.passage_ids for item in found.lists] == [("d1",)]


def test_only_passages_within_depth_have_to_be_in_the_folder(make_folder):
    folder = make_folder(run={"q1": ["d1", "x1", "x2"], "q2": ["d2", "x1"], "q4": ["x3"]})
    assert len(candidate_lists(load_collection(folder), kind="run", depth=1)) == 2
    with pytest.raises(FormatError, match=r"2 candidates .* 2 .*'q1', passage 'x1'"):
        candidate_lists(load_collection(folder), kind="run", depth=2)


def test_repeated_passages_of_a_fused_run_are_a_setting(make_folder):
    folder = make_folder(run=None, fused__trec=LINE + "q1 Q0 d2 2 1.2 tag\nq1 Q0 d1 3 1.0 tag\n")
    settings = DataSettings("fused", str(folder), "auto", duplicates="best")
    (item,) = load_data(settings).candidates.lists
    assert (item.passage_ids, item.first_stage_scores) == (("d1", "d2"), (1.5, 1.2))
