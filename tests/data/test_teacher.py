"""Soft labels: the scores of a TREC run as targets, and as grades of collections without judgements."""

import gzip
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest

from headrank.data import DataSettings, FormatError, GeneratedQueries, load_data
from headrank.data.datamodule import ListwiseDataModule
from headrank.data.labelled import LabelledList, sample_candidates
from headrank.data.settings import unjudged_ids
from headrank.data.teacher import LabelSource, teacher_grades
from headrank.errors import ConfigError, MissingFileError
from headrank.settings import SettingsError
from tests.data.toy import DOCS, candidates, ready

SCORES = {"q00": [0.5, 3.0, -1.0, 3.0, 2.0, 0.0], "q01": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}


def write_run(path, scores=SCORES):
    rows = [(q, f"{q}-d{i}", value) for q, values in scores.items() for i, value in enumerate(values)]
    path.write_text("".join(f"{q} Q0 {d} 1 {value} teacher\n" for q, d, value in rows))
    return path


@pytest.fixture
def unjudged(make_source):
    """A folder without judgements."""
    return make_source(n=4, qrels__txt=None)


@pytest.mark.parametrize(
    ("scores", "levels", "grades"),
    [
        ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0], 4, (3, 2, 2, 1, 1, 1, 0, 0, 0, 0)),
        ([0.0, 1.0], 4, (1, 3)),
        ([5.0, 5.0, 1.0], 2, (1, 1, 0)),
        ([2.0] * 9 + [1.0], 2, (1,) * 9 + (0,)),
        ([3.0] + [1.0] * 9, 4, (3,) + (1,) * 9),  # their mean rank is half of the list
        ([1.0, 1.0, 1.0], 4, (3, 3, 3)),
        ([7.0], 4, (3,)),
        ([], 4, ()),
        ([0.0, -1e30, 1e30], 3, (1, 0, 2)),
    ],
)
def test_grades_are_shares_of_the_ranks(scores, levels, grades):
    assert teacher_grades(scores, levels) == grades


def test_ties_that_a_run_file_separates_stay_ties():
    one = np.float32(1.0)
    two = float(np.nextafter(one, np.float32(0.0)))
    three = float(np.nextafter(np.float32(two), np.float32(0.0)))
    values = [float(one), two, three, 0.5, 0.4, 0.3]
    assert teacher_grades(values, 3) == teacher_grades([1.0, 1.0, 1.0, 0.5, 0.4, 0.3], 3)
    assert len(set(teacher_grades(values, 3)[:3])) == 1


@pytest.mark.parametrize("text", ["", "run:", "judged", "judged+", "other:/x", "/x.trec", "judged+judged+run:/x"])
def test_other_sources_of_labels_are_refused(text):
    with pytest.raises(SettingsError, match="labels"):
        DataSettings("toy", "x", labels=text)


def test_the_name_in_a_path_is_the_sets():
    assert DataSettings("toy", "x", labels="judged+run:/r/{name}.trec").label_source == LabelSource(
        True, LabelSource.parse("run:/r/toy.trec", "").run
    )


@pytest.mark.parametrize("packed", [False, True])
def test_scores_of_a_run_label_a_collection_without_judgements(unjudged, tmp_path, caplog, packed):
    run = write_run(tmp_path / "folder.trec", SCORES | {"elsewhere": [1.0]})
    if packed:
        with run.open("rb") as plain, gzip.open(tmp_path / "folder.trec.gz", "wb") as file:
            shutil.copyfileobj(plain, file)
    source = replace(unjudged, labels=f"run:{tmp_path}/{{name}}.trec{'.gz' if packed else ''}")
    with caplog.at_level(logging.INFO, logger="headrank"):
        data = load_data(source)
    assert data.query_ids == ("q00", "q01")
    first, second = data.labelled()
    assert first.teacher == tuple(SCORES["q00"])
    assert first.grades == (1, 3, 0, 3, 1, 0)  # the mean ranks of six: 0.5, 0.5, 2, 3, 4, 5
    assert second.grades == (0, 0, 1, 1, 2, 3)
    assert "1 queries that" in caplog.text


def test_candidates_without_a_score_are_dropped_and_counted(unjudged, tmp_path, caplog):
    run = write_run(tmp_path / "run.trec", {"q00": [2.0, 1.0, 3.0], "q01": [1.0], "q02": []})
    with run.open("a") as file:
        file.write("q03 Q0 nowhere 1 1.0 teacher\n")
    source = replace(unjudged, labels=f"run:{run}")
    with caplog.at_level(logging.INFO, logger="headrank"):
        data = load_data(source)
        module = ready(source, validation_queries=0)
    assert [(one.item.passage_ids, one.teacher) for one in data.labelled()] == [
        (("q00-d0", "q00-d1", "q00-d2"), (2.0, 1.0, 3.0)),
        (("q01-d0",), (1.0,)),
    ]
    assert data.candidates.queries_without_candidates == ("q03",)
    assert f"{3 * DOCS - 4} candidates without a score dropped, 2 queries without two scored candidates" in caplog.text
    counts = module.counts
    assert (counts.queries, counts.lists_without_candidates, counts.lists_of_one_grade) == (3, 1, 1)
    assert [one.item.query.id for one in module.training_lists] == ["q00"]


def test_a_run_adds_targets_to_judged_lists(make_source, tmp_path, caplog):
    source = make_source(n=3)
    run = write_run(tmp_path / "run.trec", SCORES | {"q01": [1.0, 2.0]})
    with caplog.at_level(logging.WARNING, logger="headrank"):
        taught = load_data(replace(source, labels=f"judged+run:{run}")).labelled()
    judged = load_data(source).labelled()
    assert [one.teacher for one in taught] == [tuple(SCORES["q00"]), None, None]
    assert [replace(one, teacher=None) for one in taught] == list(judged)
    assert "2 of 3 lists have no targets" in caplog.text
    assert "'q01'" in caplog.text


def test_the_teachers_scores_follow_candidates_and_orders():
    one = LabelledList(
        candidates("q", docs=6), (0, 0, 2, 0, 1, 0), (5, 4, 3, 2, 1, 0), 1, (6.0, 5.0, 4.0, 3.0, 2.0, 1.0)
    )
    assert one.top(2).teacher == (6.0, 5.0)
    drawn = sample_candidates(one, 3, "key")
    places = [one.item.passage_ids.index(i) for i in drawn.item.passage_ids]
    assert drawn.teacher == tuple(one.teacher[i] for i in places)
    assert drawn.order == (0, 1, 2)


@pytest.mark.parametrize("teacher", [(1.0,), (1.0, float("nan")), (1.0, float("inf"))])
def test_a_teachers_scores_must_be_finite_and_complete(teacher):
    with pytest.raises(ValueError, match="'q'"):
        LabelledList(candidates("q", docs=2), (0, 1), (0, 1), 1, teacher)


def test_drawn_lists_keep_two_grades_and_their_teacher(unjudged, tmp_path):
    run = write_run(tmp_path / "run.trec")
    source = replace(unjudged, labels=f"run:{run}", depth=4)
    data = ready(source, draw_candidates=2, draw_depth=6, validation_queries=1)
    (batch,) = data.train_dataloader()
    (one,) = batch.lists
    assert len(one.item) == len(one.teacher) == 2
    assert one.has_pairs
    scores = SCORES[one.item.query.id]
    assert [scores[int(i[-1])] for i in one.item.passage_ids] == list(one.teacher)
    assert data.validation_lists[0].teacher == tuple(SCORES[data.validation_lists[0].item.query.id][:4])


@pytest.mark.parametrize(
    ("text", "kind", "named"),
    [
        (None, MissingFileError, "missing.trec"),
        ("q00 Q0 q00-d0 1 nan t\n", FormatError, "'q00'"),
        ("q00 Q0 q00-d0 1 1e99 t\n", FormatError, "'q00'"),
        ("q00 Q0 q00-d0 1 1 t\nq00 Q0 q00-d0 2 0 t\n", FormatError, "'q00'"),
        ("x Q0 q00-d0 1 1 t\n", FormatError, "'x'"),
        ("", FormatError, "missing.trec"),
        ("q00 Q0 q00-d0 1 1 t\nq01 Q0 q01-d0 1 1 t\n", FormatError, "'q00'"),
    ],
)
def test_wrong_runs_are_refused(unjudged, tmp_path, text, kind, named):
    path = tmp_path / "missing.trec"
    if text is not None:
        path.write_text(text)
    with pytest.raises(kind, match=named) as error:
        load_data(replace(unjudged, labels=f"run:{path}"))
    assert str(path) in str(error.value)


def test_a_run_that_scores_no_judged_list_completely_is_refused(make_source, tmp_path):
    run = write_run(tmp_path / "run.trec", {"q00": [1.0, 2.0]})
    with pytest.raises(FormatError, match="'q00'"):
        load_data(replace(make_source(n=2), labels=f"judged+run:{run}"))


def test_a_threshold_above_the_highest_grade_is_refused(unjudged, tmp_path):
    source = replace(unjudged, labels=f"run:{write_run(tmp_path / 'run.trec')}", relevance_threshold=2)
    with pytest.raises(ConfigError, match="teacher_levels"):
        load_data(replace(source, teacher_levels=2))
    assert {one.relevance_threshold for one in load_data(source).labelled()} == {2}


def test_a_sample_of_the_runs_queries(unjudged, tmp_path):
    source = replace(unjudged, labels=f"run:{write_run(tmp_path / 'run.trec')}", max_queries=1)
    assert len(load_data(source).query_ids) == 1


def test_requests_without_judgements(tmp_path):
    file = tmp_path / "r.jsonl"
    file.write_text(
        '{"query": {"qid": "q00", "text": "what"}, "candidates": ['
        '{"docid": "q00-d0", "doc": "a"}, {"docid": "q00-d1", "doc": "b"}]}\n'
    )
    source = DataSettings("r", str(file), "auto", labels=f"run:{write_run(tmp_path / 'run.trec')}")
    (one,) = load_data(source).labelled()
    assert one.teacher == (0.5, 3.0)
    with pytest.raises(FormatError, match="judged"):
        load_data(replace(source, labels=None))


def test_taught_and_judged_sets_together(unjudged, make_source, tmp_path):
    judged = make_source("judged", 2, prefix="j")
    taught = replace(unjudged, labels=f"run:{write_run(tmp_path / 'run.trec')}")
    module = ListwiseDataModule([judged, taught], validation_queries=0)
    module.setup()
    assert [one.teacher is None for one in module.training_lists] == [True, True, False, False]


def test_queries_without_human_judgements_are_held_out_last():
    judged, taught = DataSettings("a", "x"), DataSettings("b", "x", labels="run:/b.trec")
    made = DataSettings("c", "x", generated=GeneratedQueries())
    origins = {"q": 0, "r": 1, "s": 2}
    assert [one.judged for one in (judged, taught, made)] == [True, False, False]
    assert unjudged_ids(origins, [judged, taught, made]) == {"r", "s"}
    assert unjudged_ids({"r": 0, "s": 1}, [taught, made]) == {"s"}
