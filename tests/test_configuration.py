"""From the command line's words to settings: every wrong one is named by its key, with its value."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from headrank.alignment.settings import AlignmentSettings
from headrank.errors import ConfigError
from headrank.experiment import Experiment
from headrank.run import compose_config, experiment_from_config, tracker_from_config
from headrank.stages.keys import experiment_key
from headrank.tracking import NoTracker

ROOT = Path(__file__).parents[1]


def experiment(*words: str) -> Experiment:
    return experiment_from_config(compose_config(words), Path("unused"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["seed=abc"], "seed is 'abc'"),
        (["seed=1.5"], "seed is 1.5"),
        (["depth=true"], "depth is True"),
        (["max_queries=0"], "max_queries is 0"),
        (["name=3"], "name is 3"),
        (["shared_runs=/runs"], "paths.cache"),
        (["paths.cache=3"], "paths.cache is 3"),
        (["bm25.language=germn"], "bm25.language is 'germn'"),
        (["bm25=3"], "bm25 is 3"),
        (["+benchmarks.sample.bm25.k1=-1"], "benchmarks.sample.bm25.k1 is -1"),
        (["+benchmarks.sample.bm25.languag=german"], "benchmarks.sample.bm25.languag"),
        (["scorer.batch_size=1.5"], "scorer.batch_size is 1.5"),
        (["scorer.eps=nan"], "scorer.eps is nan"),
        (["selection.entropy_weight=foo"], "selection.entropy_weight is 'foo'"),
        (["selection.entropy_weight=0.3"], "selection.criterion.weight"),
        (["metrics=[]"], "metrics is []"),
        (["model.overrides.hidden_sise=3"], "+model.overrides.hidden_sise="),
        (["instructions.sample=abc"], "+instructions.sample="),
        (["selection=contrastive", "+selection.entropy_weight=auto"], "selection.entropy_weight is 'auto'"),
        (["baselines=[icrr]"], "did you mean icr?"),
        (["selection.heads=0"], "selection.heads is 0"),
        (["selection=given", "selection.criterion.heads=[[0.5,0]]"], "selection.criterion.heads.0.0 is 0.5"),
        (["selection=given", "selection.criterion.heads=[[1,2],[1,2]]"], "selection.criterion.heads is [1, 2]"),
        (["selection.criterion=null"], "selection.criterion is None"),
        (["metrics=[ndcg@10,ndgc@5]"], "metrics.1"),
        (["metrics=[ndcg@10,ndcg@10]"], "metrics is ['ndcg@10', 'ndcg@10']"),
        (["objective=ndcg@11"], "objective is 'ndcg@11'"),
        (["+instructions.fiqa=3"], "instructions.fiqa is 3"),
        (["benchmarks.sample.depth=abc"], "benchmarks.sample.depth is 'abc'"),
        (["data.sample.relevance_threshold=0"], "data.sample.relevance_threshold is 0"),
        (["baselines=[generative]", "baselines.generative.step=30"], "baselines.generative.step is 30"),
        (["baselines=[icr]", "baselines.icr.scorer.power=true"], "baselines.icr.scorer.power is True"),
        (["alignment=lora", "alignment.epochs=1.5"], "alignment.epochs is 1.5"),
        (["alignment=lora", "alignment.pairs.fraction=2"], "alignment.pairs.fraction is 2"),
        (["alignment=lora", "trainer.devices=two"], "trainer.devices is 'two'"),
        (["alignment=lora", "loss.graded_kl.weight=foo"], "loss.graded_kl.weight is 'foo'"),
        (["tracking=wandb", "tracking.mode=on"], "tracking.mode is 'on'"),
        (["+scorer.bach_size=3"], "did you mean batch_size?"),
        (["scorer.bach_size=3"], "did you mean scorer.batch_size?"),
        (["sede=3"], "did you mean seed?"),
        (["+sede=3"], "did you mean seed?"),
        (["+benchmarks.fiqua.depth=3"], "did you mean fiqa?"),
        (["relevance_threshold=1"], "data.local.relevance_threshold"),
        (["+relevance_threshold=1"], "data.local.relevance_threshold"),
        (["model=qwen3_8b"], "qwen3_4b"),
        (["+report.figures.mine._target_=nopackage.Figure"], "report.figures.mine._target_ is 'nopackage.Figure'"),
        (["+report.figures.mine._target_=nopackage.Figure"], "No module named 'nopackage'"),
        (["seed=${nothing}"], "nothing"),
        (["data=[local]"], "data.local.collection=VALUE"),
        (["alignment.epochs=3"], "alignment.epochs: the option none of alignment"),
        (["depth={3}.x"], "depth={3}.x"),
        (["name=../../x"], "name is '../../x'"),
        (["name=/tmp/x"], "name is '/tmp/x'"),
        (["name=a/../../b"], "name is 'a/../../b'"),
        (["name=''"], "name is ''"),
    ],
)
def test_what_is_refused(words, named):
    with pytest.raises(ConfigError) as error:
        experiment(*words)
    assert named in str(error.value)


def test_a_name_may_have_folders():
    assert compose_config(["name=a/b", "paths.output=out"]).paths.run == "out/a/b"


def test_a_class_from_elsewhere_is_named_with_what_it_raises(monkeypatch):
    monkeypatch.setattr("tests.test_configuration.Wrong.error", TypeError("colour is missing"))
    target = "+report.figures.mine._target_=tests.test_configuration.Wrong"
    with pytest.raises(ConfigError, match=r"report\.figures\.mine: colour is missing"):
        experiment(target)


class Wrong:
    error = Exception()

    def __init__(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    "words",
    [
        ["+experiment=nano", "alignment=none"],
        ["+experiment=nano", "alignment=none", "baselines=[]"],
        ["alignment=none", "+alignment.epochs=3"],
        ["+experiment=nano", "alignment=none", "loss=listmle", "debug=fast"],
    ],
)
def test_none_means_none_whatever_an_experiment_sets_below(words):
    found = experiment(*words)
    assert found.alignment is None
    assert "epochs:" not in found.config_yaml
    assert isinstance(experiment("+experiment=nano").alignment, AlignmentSettings)


def test_none_means_none_for_tracking_baselines_and_benchmarks():
    config = compose_config(["tracking=none", "+tracking.project=x"])
    assert isinstance(tracker_from_config(config, name="run", group=None), NoTracker)
    assert experiment_from_config(config, Path("unused")).alignment is None
    found = experiment("baselines=[]", "+baselines.icr.heads=8", "+benchmarks.fiqa.depth=3")
    assert list(found.systems) == ["headrank"]
    assert [one.name for one in found.benchmarks] == ["sample-test"]


def test_values_of_the_environment_stay_out_of_every_record(monkeypatch):
    monkeypatch.setenv("HEADRANK_TEST_SECRET", "hunter2")
    words = ["seed=7", "tracking=wandb", "tracking.project=${oc.env:HEADRANK_TEST_SECRET,none}",
        "prompt.opening='Of ${tracking.project}:'"]  # fmt: skip
    config = compose_config(words)
    found = experiment_from_config(config, Path("unused"))
    assert found.systems["headrank"].prompt.opening == "Of hunter2:"
    assert "hunter2" not in found.config_yaml
    record = OmegaConf.create(found.config_yaml)
    assert record.tracking.project == "hunter2", "the record resolves where it is read"
    assert OmegaConf.to_container(record)["prompt"]["opening"] == "Of ${oc.env:HEADRANK_TEST_SECRET,none}:"
    assert record.scorer.seed == 7, "other interpolations are resolved"
    assert "${seed}" not in found.config_yaml
    tracker = tracker_from_config(config, name="run", group=None)
    assert "hunter2" not in repr(tracker.config)
    assert OmegaConf.create({"a": "${oc.env:HEADRANK_TEST_SECRET}"}).a == "hunter2", "the resolver is its own again"


def test_a_value_of_the_environment_changes_the_key(monkeypatch):
    keys = set()
    for value in ("one", "two"):
        monkeypatch.setenv("HEADRANK_TEST_VALUE", value)
        keys.add(experiment_key(experiment("prompt.opening=${oc.env:HEADRANK_TEST_VALUE}")))
    assert len(keys) == 2


def test_the_command_line_ends_with_one_line_and_code_2(tmp_path):
    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "headrank.run", f"paths.output={tmp_path}/out", *words],
            cwd=ROOT, env=os.environ | {"HYDRA_FULL_ERROR": "0"} | environment,
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    done = run("scorer.batch_size=1.5")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: scorer.batch_size is 1.5, expected a whole number"
    assert "Traceback" not in done.stderr
    assert '"failed"' in (tmp_path / "out/run/status.json").read_text()
    done = run("name=../x")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "../x" in done.stderr
    assert not (tmp_path / "x").exists()
    done = run("+sweep=tune_alignment", "hydra.sweeper.trials=0")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: hydra.sweeper.trials is 0")
    assert "Traceback" not in done.stderr
    done = run("scorer.bach_size=3", HYDRA_FULL_ERROR="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("name", ["mine", "a, b'c [d]"])
def test_a_folder_of_further_options(name, tmp_path):
    (tmp_path / name / "prompt").mkdir(parents=True)
    (tmp_path / name / "prompt" / "mine.yaml").write_text("defaults: [default, _self_]\nquery_label: 'Q:'\n")
    assert compose_config(["prompt=mine"], config_dir=str(tmp_path / name)).prompt.query_label == "Q:"


def test_a_folder_of_further_options_that_does_not_exist():
    with pytest.raises(ConfigError, match="absent"):
        compose_config([], config_dir="absent")
