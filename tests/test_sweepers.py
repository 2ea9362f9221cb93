"""Sweeps as a user starts them, over a toy application of a second: failures, second starts, stops."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hydra_plugins.headrank_sweepers.job_names import job_name

ROOT = Path(__file__).parents[1]
APP = """
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig


@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(config):
    with (Path(HydraConfig.get().runtime.output_dir) / "calls").open("a") as file:
        file.write("x")
    if config.x > config.limit and Path("faulty").exists():
        raise RuntimeError("a fault")
    if Path("stopped").exists():
        raise KeyboardInterrupt
    return 1 - abs(config.x - 0.3)


main()
"""
CONFIG = """
defaults:
  - _self_
  - override hydra/sweeper: {sweeper}
  - override hydra/job_logging: none
  - override hydra/hydra_logging: none
x: 0.0
kind: a
limit: 0.0
hydra:
  mode: MULTIRUN
  searchpath: ["file://{conf}"]
  sweep:
    dir: out
  sweeper: {options}
"""


@pytest.fixture
def app(tmp_path):
    def make(sweeper, **options):
        (tmp_path / "app.py").write_text(APP)
        text = CONFIG.format(sweeper=sweeper, conf=ROOT / "conf", options=json.dumps(options))
        (tmp_path / "config.yaml").write_text(text)

        def run(*overrides, ok=True):
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            done = subprocess.run(
                [sys.executable, "app.py", *overrides],
                cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120,
            )  # fmt: skip
            assert (done.returncode == 0) == ok, done.stderr
            return done.stderr

        return run, tmp_path

    return make


def value(name):
    return re.search(r"x-([^_]+)", name).group(1)


def calls(folder):
    return {path.parent.name: len(path.read_text()) for path in folder.glob("out/*/calls")}


def test_a_study_joins_its_axes_runs_equal_jobs_once_and_names_the_failed_ones(app):
    run, folder = app("study", axes=["x=0.0,0.1,0.10", "kind=a,b"], params={"limit": "0.05"})
    (folder / "faulty").touch()
    said = run(ok=False)
    names = {"limit-0.05__x-0.0", "limit-0.05__x-0.1", "kind-b__limit-0.05"}
    assert calls(folder) == dict.fromkeys(names, 1)
    same = json.loads((folder / "out/kind-a__limit-0.05/status.json").read_text())
    assert (same["state"], same["same_as"]) == ("same", "limit-0.05__x-0.0")
    assert "failed: out/limit-0.05__x-0.1: RuntimeError: a fault" in said
    assert "1 of 3 jobs failed" in said
    assert (folder / "out/multirun.yaml").is_file()


def test_what_the_command_line_says_of_a_parameter_comes_first(app):
    run, folder = app("study", params={"x": "0.0,0.1", "kind": "a,b"})
    run("kind=c")
    assert calls(folder).keys() == {"kind-c__x-0.0", "kind-c__x-0.1"}


def test_a_search_goes_on_after_failures_and_stops_and_finds_the_best(app):
    pytest.importorskip("optuna")
    run, folder = app("optuna", trials=5, params={"x": "interval(0,1)", "kind": "choice(a,b)"})
    (folder / "faulty").touch()
    said = run("limit=0.5", ok=False)
    first = calls(folder)
    assert len(first) == 5
    failed = {name for name in first if float(value(name)) > 0.5}
    assert 0 < len(failed) < 5
    assert f"{len(failed)} of 5 jobs failed" in said
    # Stopped in the first of those that are tried again.
    (folder / "faulty").unlink()
    (folder / "stopped").touch()
    run("limit=0.5", ok=False)
    (folder / "stopped").unlink()
    said = run("limit=0.5")
    assert f"search: {5 - len(failed)} of 5 trials exist" in said
    again = calls(folder)
    assert again.keys() == first.keys(), "the same folders"
    assert {name for name in again if again[name] > 1} == failed
    best = yaml.safe_load((folder / "out/best.yaml").read_text())
    values = {name: 1 - abs(float(value(name)) - 0.3) for name in again}
    assert best["value"] == pytest.approx(max(values.values()))
    assert job_name([*best["overrides"], "limit=0.5"], ["kind", "x"]) == max(values, key=values.__getitem__)
    # Nothing is left to do; more trials do the rest; another configuration is another search.
    assert "5 of 5 trials exist" in run("limit=0.5")
    assert calls(folder) == again
    run("limit=0.5", "hydra.sweeper.trials=6")
    assert len(calls(folder)) == 6
    assert "0 of 1 trials exist" in run("limit=0.6", "hydra.sweeper.trials=1")


def test_two_different_jobs_of_one_folder_are_refused_before_any_starts(app):
    run, folder = app("study", params={"x": "0.0,0.1"})
    said = run("hydra.sweep.subdir=same", ok=False)
    assert "out/same" in said
    assert {"x=0.0", "x=0.1"} <= set(said.split())
    assert not calls(folder)
    run("hydra.sweep.subdir='${x}'")
    assert calls(folder) == {"0.0": 1, "0.1": 1}


def test_trials_at_a_time_that_ask_for_the_same_values_are_one_job(app):
    pytest.importorskip("optuna")
    run, folder = app("optuna", trials=6, parallel=6, params={"kind": "choice(a,b)"})
    run()
    assert calls(folder) == {"kind-a": 1, "kind-b": 1}


@pytest.mark.parametrize(
    ("params", "said"),
    [({}, "swept keys"), ({"x": "range(0,1,0.1)"}, "expected choice"), ({"x": "interval(0,1)", "y": "1"}, "'y'")],
)
def test_a_search_that_cannot_be_is_told(app, params, said):
    pytest.importorskip("optuna")
    run, folder = app("optuna", trials=1, params=params)
    assert said in run(ok=False)
    assert not calls(folder)
