"""Queries that chose the heads and are scored too are told in log and report."""

from dataclasses import replace

from headrank.experiment import MAIN_SYSTEM, SystemSettings
from headrank.heads import AllHeads
from headrank.pipeline import run_experiment
from headrank.stages.lists import DataLoader
from headrank.stages.shared_queries import shared_queries
from tests.conftest import QUERIES


def found(experiment):
    data = DataLoader(experiment.cache)
    benchmarks = [data.load(settings) for settings in experiment.benchmarks]
    return shared_queries(data.labelled(experiment.train), benchmarks)


def test_the_same_collection_shares_all(experiment):
    assert found(experiment) == {"one": 3, "two": 2}


def test_other_queries_share_nothing(experiment, make_folder):
    other = make_folder("other", queries={query_id: f"something else, {text}" for query_id, text in QUERIES.items()})
    train = (replace(experiment.train[0], collection=str(other)),)
    assert found(replace(experiment, train=train)) == {}


def test_a_text_is_the_same_under_another_id_and_spelling(experiment, make_folder):
    queries = {"q1": "What  CAUSES tides ", "q2": "another question", "q3": "a third one", "q4": "and a fourth"}
    train = (replace(experiment.train[0], collection=str(make_folder("other", queries=queries))),)
    assert found(replace(experiment, train=train))["one"] == 1


def test_log_and_report_warn_and_only_where_labels_are_used(experiment, caplog):
    run_experiment(experiment)
    said = "3 of the 3 queries of one, 2 of the 2 queries of two"
    assert [r.levelname for r in caplog.records if said in r.getMessage()] == ["WARNING"]
    for name in ("report.md", "report.html"):
        assert said in (experiment.folder / name).read_text()
    caplog.clear()
    unused = replace(
        experiment, folder=experiment.folder.with_name("unused"), systems={MAIN_SYSTEM: SystemSettings(AllHeads())}
    )
    run_experiment(unused)
    assert said not in (unused.folder / "report.md").read_text()
    assert not any(said in record.getMessage() for record in caplog.records)
