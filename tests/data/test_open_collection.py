import pytest

from headrank.data import open_collection as sources
from headrank.data.irds import UnknownCollectionError
from headrank.data.local import LocalCollection
from headrank.data.open_collection import load_collection


def test_a_folder_by_its_path(make_folder, monkeypatch):
    folder = make_folder("collection")
    assert load_collection(folder).passage_count == 5
    assert load_collection(str(folder)).name == str(folder)
    monkeypatch.chdir(folder.parent)
    assert isinstance(load_collection("./collection"), LocalCollection)
    assert isinstance(load_collection("collection"), LocalCollection)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load_collection("~/collection").passage_count == 5


@pytest.mark.parametrize("source", ["./none", "/none/at/all", "~/none"])
def test_a_path_that_is_not_there_is_no_id(source):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_collection(source)


def test_samples_are_folders_of_the_package(make_folder, monkeypatch):
    monkeypatch.setattr(sources, "_SAMPLES", make_folder("train").parent)
    sample = load_collection("sample/train")
    assert (sample.name, sample.passage_count) == ("sample/train", 5)
    for unknown in ("sample/trian", "sample/train/x", "sample/../train", "sample/"):
        with pytest.raises(FileNotFoundError, match=f"{unknown}: .* sample/train"):
            load_collection(unknown)


def test_titles_are_passed_on(make_folder):
    folder = make_folder(docs__jsonl='{"doc_id": "d1", "text": "x", "title": "T"}\n')
    assert next(load_collection(folder).passages()).text == "T x"
    assert next(load_collection(folder, title=False).passages()).text == "x"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("beir/nfcorpus/tset", "Close matches: .*beir/nfcorpus/test.*local folder"),
        ("beir/arguana/test", "Close matches: beir/arguana"),
        ("beir/nfcorpus", "has no qrels; .* beir/nfcorpus/dev, beir/nfcorpus/test, beir/nfcorpus/train"),
        ("beir/robust04", "licence: TREC disks 4 and 5 .* use disks45/nocr/trec-robust-2004"),
        ("beir/trec-news/test", "licence: the Washington Post"),
        ("", "is not an ir_datasets id"),
    ],
)
def test_an_id_that_is_none_says_what_may_be_meant(source, message):
    with pytest.raises(UnknownCollectionError, match=message):
        load_collection(source)


def test_an_id_without_judgements_opens_if_none_are_needed():
    assert load_collection("beir/nfcorpus", judged=False).qrels == {}
