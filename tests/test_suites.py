"""The suites of 14 benchmarks: what they hold, that it exists, and how one changes it from the command line."""

import json
from collections import Counter
from functools import cache
from types import SimpleNamespace

import ir_datasets
import pytest

from headrank.data.bm25.index import BM25Parameters, index_folder
from headrank.data.irds import IrDatasetsCollection
from headrank.experiment import MAIN_SYSTEM
from tests.test_conf import EXPERIMENTS, experiment

TREC = ["msmarco-passage/trec-dl-2019/judged", "msmarco-passage/trec-dl-2020/judged"]
BEIR = {
    "arguana": 1406,
    "climate-fever": 1535,
    "dbpedia-entity/test": 400,
    "fever/test": 6666,
    "fiqa/test": 648,
    "hotpotqa/test": 7405,
    "nfcorpus/test": 323,
    "nq": 3452,
    "scidocs": 1000,
    "scifact/test": 300,
    "trec-covid": 50,
    "webis-touche2020/v2": 49,
}  # id under beir/ -> judged queries
SUITES = {
    "trec_beir14": {*TREC, *(f"beir/{name}" for name in BEIR)},
    "beir14": {*(f"beir/{name}" for name in BEIR), "beir/quora/test", "msmarco-passage/dev/small"},
}


@cache
def suite(name, *overrides):
    return {one.name: one for one in experiment(f"benchmarks={name}", *overrides).benchmarks}


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_holds_its_fourteen(name):
    found = suite(name)
    assert {one.collection for one in found.values()} == SUITES[name]
    assert len(found) == 14
    assert {one.name for one in found.values() if one.drop_identical_ids} == {"arguana", "quora"} & set(found)
    assert {one.collection for one in found.values() if one.relevance_threshold == 2} == {*TREC} & SUITES[name]
    assert all(one.relevance_threshold in (1, 2) and one.licence for one in found.values())
    assert {(one.depth, one.first_stage, one.max_queries) for one in found.values()} == {(40, "bm25", None)}


@pytest.mark.parametrize("name", SUITES)
def test_its_ids_exist_with_judged_queries_and_passages(name):
    for one in suite(name).values():
        assert one.collection in ir_datasets.registry
        data = ir_datasets.load(one.collection)
        assert all(data.has(part) for part in ("docs", "queries", "qrels")), one.collection
        known = data.metadata()
        assert known["qrels"]["count"] > 0
        assert known["docs"]["count"] > 3000
        assert known["queries"]["count"] == BEIR.get(one.collection.removeprefix("beir/"), known["queries"]["count"])
        titled = any(field == "title" for field in data.docs_cls()._fields)
        assert one.title == titled, f"{one.collection}: title is {one.title}, passages have {data.docs_cls()._fields}"


def test_msmarcos_small_development_set_is_what_beir_calls_msmarco_dev():
    ours, beir = (ir_datasets.load(i).metadata() for i in ("msmarco-passage/dev/small", "beir/msmarco/dev"))
    assert [ours[part]["count"] for part in ("docs", "queries", "qrels")] == [8841823, 6980, 7437]
    assert [beir[part]["count"] for part in ("docs", "queries", "qrels")] == [8841823, 6980, 7437]


def test_benchmarks_over_the_same_passages_share_one_index(tmp_path):
    folders = Counter()
    for name in ("trec_beir14", "beir14"):
        for one in suite(name).values():
            collection = IrDatasetsCollection(one.collection, title=one.title)
            collection._dataset = SimpleNamespace(docs_iter=lambda: iter(()))  # the passages themselves are not here
            folders[index_folder(collection, BM25Parameters(), tmp_path)] += 1
    # 13 collections of passages: TREC DL 2019, 2020 and msmarco have one; twelve of BEIR stand in both suites
    assert sorted(folders.values()) == [1, *[2] * 12, 3]


def test_all_and_one_of_them_can_be_changed():
    changed = suite(
        *(
            "trec_beir14",
            "depth=10",
            "max_queries=50",
            "benchmarks.fiqa.depth=20",
            "benchmarks.nfcorpus.max_queries=100",
        ),
        *("benchmarks.nq.first_stage=run", "benchmarks.nq.run_path=/runs/nq.trec", "~benchmarks.fever"),
    )
    assert len(changed) == 13
    assert "fever" not in changed
    assert (changed["fiqa"].depth, changed["fiqa"].max_queries) == (20, 50)
    assert (changed["nfcorpus"].depth, changed["nfcorpus"].max_queries) == (10, 100)
    assert (changed["nq"].first_stage, changed["nq"].run_path) == ("run", "/runs/nq.trec")
    assert {one.depth for name, one in changed.items() if name != "fiqa"} == {10}


def test_depth_and_number_of_queries_reach_a_local_folder():
    settings = (
        "benchmarks=[local,sample]",
        "benchmarks.local.collection=/x",
        "data=[local]",
        "data.local.collection=/y",
    )
    plain = experiment(*settings)
    assert [(one.name, one.depth, one.max_queries) for one in (*plain.benchmarks, *plain.train)] == [
        ("local", 40, None),
        ("sample-test", 20, None),
        ("local-train", 40, None),
    ]
    changed = experiment(*settings, "depth=7", "max_queries=5")
    assert [(one.depth, one.max_queries) for one in (*changed.benchmarks, *changed.train)] == [
        (7, 5),
        (20, 5),  # the sample has its own depth
        (7, None),  # training data are not sampled with the benchmarks
    ]
    assert {one.first_stage for one in (plain.benchmarks[0], *plain.train)} == {"auto"}


def test_a_suite_stands_beside_single_ones():
    assert next(iter(suite("[sample,beir14]"))) == "sample-test"
    assert len(suite("[sample,beir14]")) == len(suite("[trec_dl_2019,beir14]")) == 15
    assert len(suite("[nfcorpus,beir14]")) == 14
    assert len(suite("[trec_beir14,beir14]")) == 16


def test_runs_by_pattern():
    found = suite(
        "beir14",
        "first_stage_runs='/runs/{name}.trec'",
        "benchmarks.nq.run_path=/mine",
        "benchmarks.nq.first_stage=run",
    )
    assert found["trec-covid"].run_path == "/runs/trec-covid.trec"
    assert found["nq"].run_path == "/mine"
    assert {one.first_stage for one in found.values()} == {"run"}
    assert suite("nq", "first_stage_runs=/runs/nq.trec")["nq"].run_path == "/runs/nq.trec"
    with pytest.raises(ValueError, match=r"first_stage_runs is '/runs/one.trec'.*\{name\}.* 14"):
        suite("beir14", "first_stage_runs=/runs/one.trec")


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("qwen3")])
def test_the_scales_are_tested_on_the_default_suite(name):
    assert {one.collection for one in experiment(f"+experiment={name}").benchmarks} == SUITES["trec_beir14"]


def test_instructions_by_benchmark():
    names = {*suite("trec_beir14"), *suite("beir14")}
    assert experiment().systems[MAIN_SYSTEM].instructions == {}
    tasks = experiment("instructions=tasks", "baselines=[icr,core]").systems
    assert set(tasks[MAIN_SYSTEM].instructions) == names
    assert tasks[MAIN_SYSTEM].instructions["arguana"] == "Given a claim, find documents that refute the claim."
    assert set(tasks["icr"].instructions) < names
    assert {*tasks["icr"].instructions.values()} == {
        "Please answer the following question based on the information in the paragraphs above."
    }
    assert tasks["core"].instructions == {}
    one = experiment("+instructions.trec-covid='Find studies.'").systems[MAIN_SYSTEM]
    assert json.dumps(one.instructions) == '{"trec-covid": "Find studies."}'
