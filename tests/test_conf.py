"""Every experiment and every option of every group composes and becomes an experiment."""

from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from headrank.alignment.settings import TrainerSettings
from headrank.baselines import Generative, Qwen3Reranker
from headrank.data import BM25Parameters
from headrank.evaluation.report.figures import default_figures
from headrank.experiment import MAIN_SYSTEM
from headrank.run import CONFIG_FOLDER, experiment_from_config, tracker_from_config
from headrank.tracking import NoTracker

EXPERIMENTS = sorted(path.stem for path in (CONFIG_FOLDER / "experiment").glob("*.yaml"))
GROUPS = (
    "model", "data", "benchmarks", "prompt", "selection", "scorer", "baselines", "alignment", "loss", "trainer",
    "tracking", "report", "debug", "paths", "instructions", "teacher",
)  # fmt: skip
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONFIG_FOLDER / group).glob("*.yaml"))]
LISTS = ("data", "benchmarks", "baselines")  # groups of which several options are chosen
MIXED = ("preference", "graded_kl", "teacher_kl")  # losses of options that combine several
FILLED = {  # what a user has to give
    ("data", "local"): ["data.local.collection=/data/mine"],
    ("data", "passages"): ["data.passages.collection=/data/mine"],
    ("benchmarks", "local"): ["benchmarks.local.collection=/data/mine"],
    ("selection", "given"): ["selection.criterion.heads=[[0,1],[2,3]]"],
    **{
        ("teacher", one): ["data.sample.labels=judged+teacher"] for one in ("cross_encoder", "qwen3_reranker", "orders")
    },
    **{("loss", one): ["data.sample.labels=run:/x"] for one in ("teacher_kl", "margin_mse", "preference_teacher")},
}


def experiment(*overrides: str):
    with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base="1.3"):
        return experiment_from_config(compose("config", list(overrides)), Path("unused"))


def test_no_group_is_forgotten():
    folders = {path.name for path in CONFIG_FOLDER.iterdir() if path.is_dir()}
    assert folders == {*GROUPS, "experiment", "ablation", "sweep", "hydra"}  # the last three: test_sweeps.py
    assert EXPERIMENTS == ["nano", "qwen3_0_6b", "qwen3_1_7b", "qwen3_4b"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments(name):
    found = experiment(f"+experiment={name}")
    assert found.name == name
    assert MAIN_SYSTEM in found.systems
    assert found.config_yaml.count("_target_") > 5
    OmegaConf.create(found.config_yaml)  # the record can be read back
    for option in ("fast", "sample"):
        debug = experiment(f"+experiment={name}", f"debug={option}")
        assert debug.model.random_weights
        assert {b.max_queries for b in debug.benchmarks} == {6}
        collections = [b.collection for b in (found if option == "fast" else debug).benchmarks]
        assert [b.collection for b in debug.benchmarks] == collections
        assert (collections == ["sample/test"]) == (option == "sample" or name == "nano")


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group == "tracking"])
def test_trackers(option):
    with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base="1.3"):
        tracker = tracker_from_config(compose("config", [f"tracking={option}"]), name="run", group=None)
    assert isinstance(tracker, NoTracker) == (option == "none")


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: value)
def test_options(group, option):
    chosen = [f"{group}=[{option}]" if group in LISTS else f"{group}={option}"]
    if group in ("loss", "trainer", "teacher"):
        chosen.append("alignment=lora")
    found = experiment(*chosen, *FILLED.get((group, option), []))
    if group == "baselines":
        assert option in {**found.systems, **found.rerankers}
    if group == "alignment":
        assert (found.alignment.trained.part if found.alignment else "none") == option
    if group == "loss":
        assert set(found.alignment.losses.terms) <= {option, *option.split("_"), *MIXED}
    if group == "teacher":
        assert list(found.teacher) == ([] if option == "none" else [option])
        assert not experiment(*chosen, *FILLED.get((group, option), []), "debug=sample").model.revision
    if group == "trainer":
        assert isinstance(found.alignment.trainer, TrainerSettings)
    if group == "selection":
        assert found.systems[MAIN_SYSTEM].criterion.name == option


def test_bm25_has_one_default_for_all_data_and_every_set_can_differ():
    assert {one.bm25 for one in (*experiment().benchmarks, *experiment().train)} == {BM25Parameters()}
    words = [*FILLED["data", "local"], *FILLED["benchmarks", "local"], "bm25.language=german", "bm25.k1=1.2"]
    found = experiment(
        "data=[local,sample]",
        "benchmarks=[local,sample,fiqa,nfcorpus]",
        *words,
        "data.local.bm25.language=chinese",
        "+benchmarks.fiqa.bm25={b:0.7,stop_words:[a,b]}",
    )
    german = BM25Parameters(language="german", k1=1.2)
    english = replace(german, language="english")
    assert [one.bm25 for one in found.train] == [replace(german, language="chinese"), english]
    fiqa = replace(german, b=0.7, stop_words=("a", "b"))
    assert [one.bm25 for one in found.benchmarks] == [german, english, fiqa, german]


def test_the_reports_figures_are_the_packages_own_and_can_be_changed_by_a_line():
    figures = experiment().report.figures
    assert [type(figure) for figure in figures.values()] == [type(figure) for figure in default_figures()]
    assert list(figures) == [figure.name for figure in figures.values()]
    changed = experiment("report.figures.heads=null", "baselines=[icr]", "report.baseline=icr").report
    assert [figure.name for figure in changed.chosen_figures()] == [name for name in figures if name != "heads"]
    assert changed.baseline == "icr"


def test_baselines_with_and_without_heads_stand_side_by_side():
    chosen = "baselines=[icr,generative,qwen3_reranker,cross_encoder]"
    found = experiment("+experiment=qwen3_4b", chosen)
    assert list(found.systems) == [MAIN_SYSTEM, "icr"]
    assert list(found.rerankers) == ["generative", "qwen3_reranker", "cross_encoder"]
    assert found.rerankers["generative"].model is None, "the experiment's own"
    assert found.rerankers["qwen3_reranker"].model.dtype == "bfloat16", "in the experiment's precision"
    # The defaults of the code are those of the configuration.
    assert found.rerankers["generative"] == Generative()
    small = replace(Qwen3Reranker().model, revision=found.rerankers["qwen3_reranker"].model.revision, dtype="bfloat16")
    assert found.rerankers["qwen3_reranker"] == Qwen3Reranker(small)
    debug = experiment("+experiment=qwen3_4b", chosen, "debug=fast").rerankers
    assert debug["generative"] == Generative(max_new_tokens=8)
    assert debug["qwen3_reranker"] == Qwen3Reranker(None)
    assert debug["cross_encoder"].max_length == 256
    assert debug["cross_encoder"].model.random_weights
    assert experiment("debug=fast").rerankers == {}


def test_states_of_passages():
    assert experiment("prompt=blocks").states is None
    states = experiment("prompt=blocks", "states.folder=/data/states", "states.dtype=int8").states
    assert (states.folder, states.dtype, states.keep) == ("/data/states", "int8", True)
    with pytest.raises(ValueError, match="prompt=blocks"):
        experiment("states.folder=/data/states")


def test_what_a_user_has_to_give_is_asked_for():
    with pytest.raises(ValueError, match=r"data\.local\.collection=VALUE"):
        experiment("data=[local]")


def test_scales_differ_by_configuration_alone():
    small, large = experiment("+experiment=qwen3_0_6b"), experiment("+experiment=qwen3_4b")
    assert (small.model.model, large.model.model) == ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B")
    assert small.model.revision != large.model.revision
    assert small.systems == large.systems
    assert (small.train, small.benchmarks, small.alignment) == (large.train, large.benchmarks, large.alignment)
    assert [data.name for data in small.train] == ["trec-dl-2021", "trec-dl-2022", "trec-dl-2023"]


def test_settings_check_themselves():
    for override, said in (
        ("model.dtype=float8", "float8"),
        ("scorer.calibration=ratio", "calibration"),
        ("scorer.order=random", "order"),
        ("benchmarks.sample.depth=0", "depth"),
        ("objective=ndcg@20", "objective"),
        ("report.baseline=icr", "report.baseline"),
        ("+report.columns.changes=[benchmark]", "report.columns"),
    ):
        with pytest.raises(Exception, match=said):
            experiment(override)


def test_instructions_of_no_benchmark_are_told(caplog):
    experiment("instructions=tasks")
    assert not caplog.records
    experiment('+instructions.trec-dl-2109="Find it."')
    assert "instructions.trec-dl-2109: no benchmark has this name" in caplog.text
    assert "did you mean trec-dl-2019?" in caplog.text
