"""A file of requests as a collection: its lists, where judgements come from, what is refused."""

import json

import pytest

from headrank.data import DataSettings, collection_name, load_collection, load_data
from headrank.data.irds import DataUnavailableError
from headrank.data.open_collection import load_qrels
from headrank.errors import ConfigError, FormatError
from headrank.ranking import Passage


@pytest.fixture
def make_requests(tmp_path):
    """A file of two requests; `grades` are those of q1's candidates, scores can be left out."""

    def make(name="dl21.jsonl", *, grades=(None, 2, None), scored=True):
        lists = {"q1": ["d2", "d1", "d4"], "q2": ["d4", "d3"]}
        requests = [
            {
                "query": {"qid": q, "text": f"what is {q}"},
                "candidates": [
                    {"docid": d, "doc": {"text": f"text of {d}"}}
                    | ({"score": 9 - i} if scored else {})
                    | ({"grade": grades[i]} if q == "q1" else {})
                    for i, d in enumerate(ids)
                ],
            }
            for q, ids in lists.items()
        ]
        (tmp_path / name).write_text("".join(json.dumps(one) + "\n" for one in requests))
        return str(tmp_path / name)

    return make


def test_candidates_are_the_first_stage_and_grades_the_judgements(make_requests):
    data = load_data(DataSettings("dl21", make_requests(), "auto", depth=2))
    (item,) = data.candidates.lists
    assert (item.query.text, item.passage_ids, item.first_stage_scores) == ("what is q1", ("d2", "d1"), (9.0, 8.0))
    assert item.passages[0] == Passage("d2", "text of d2")
    assert data.collection.qrels == {"q1": {"d1": 2}, "q2": {}}
    assert data.labelled()[0].grades == (0, 2)
    assert data.collection.passage_count == 4
    assert data.candidates.unjudged_queries == 1


def test_without_scores_the_order_of_the_line_counts(make_requests):
    collection = load_collection(make_requests(scored=False))
    assert collection.scoreddocs()["q1"].passage_ids == ("d2", "d1", "d4")
    assert collection.scoreddocs()["q1"].scores == (3.0, 2.0, 1.0)


def test_judgements_of_a_file_or_of_another_collection(make_requests, make_folder, tmp_path):
    file = make_requests(grades=(None,) * 3)
    folder = make_folder()
    for qrels in (folder / "qrels.txt", folder):
        data = load_data(DataSettings("dl21", file, "auto", qrels=str(qrels)))
        assert [item.query.id for item in data.candidates.lists] == ["q1", "q2"]
        assert data.collection.qrels == load_collection(folder).qrels
    with pytest.raises(FormatError, match="qrels"):
        load_collection(file)
    with pytest.raises(FormatError, match=r"'q1'.*'test-q01'"):  # not told to add grades, which would not count
        load_collection(make_requests(), qrels="sample/test")
    with pytest.raises(ConfigError, match="qrels"):
        load_collection(folder, qrels="beir/scifact/test")


def test_grades_count_if_the_judgements_cannot_be_read(make_requests, monkeypatch, caplog):
    def refuse(source):
        raise DataUnavailableError(f"{source}: no network")

    monkeypatch.setattr("headrank.data.open_collection.load_qrels", refuse)
    assert load_collection(make_requests(), qrels="some/id").qrels["q1"] == {"d1": 2}
    assert "some/id: no network" in caplog.text
    with pytest.raises(DataUnavailableError):
        load_collection(make_requests(grades=(None,) * 3), qrels="some/id")


def test_a_run_can_replace_the_lists(make_requests, tmp_path):
    (tmp_path / "my.run").write_text("q1 Q0 d4 1 2.5 tag\n")
    data = load_data(DataSettings("dl21", make_requests(), "auto", run_path=str(tmp_path / "my.run")))
    assert [item.passage_ids for item in data.candidates.lists] == [("d4",)]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ({"query": {"qid": "q1", "text": "x"}, "candidates": []}, "'q1'"),
        ({"query": {"qid": "q3", "text": "x"}, "candidates": [{"docid": "d1", "text": "other"}]}, "'d1'"),
    ],
)
def test_contradictions_between_lines_are_named(make_requests, line, named):
    file = make_requests()
    with open(file, "a") as handle:
        handle.write(json.dumps(line) + "\n")
    with pytest.raises(FormatError, match=rf"dl21\.jsonl:3: .*{named}"):
        load_collection(file)


def test_names_of_collections(make_folder, make_requests, monkeypatch):
    folder = make_folder("fiqa")
    assert collection_name(str(folder)) == collection_name(f"{folder}/") == "fiqa"
    assert collection_name(f"{folder}:dev") == "fiqa-dev"
    assert collection_name(make_requests()) == "dl21"
    assert collection_name("/none/dl22.jsonl.gz") == "dl22"
    assert collection_name("beir/fiqa/dev") == "beir-fiqa-dev"
    monkeypatch.chdir(folder)
    assert collection_name(".") == "fiqa"


def test_judgements_of_a_sample():
    assert load_qrels("sample/test") == load_collection("sample/test").qrels
