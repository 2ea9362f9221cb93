"""Missing optional packages are refused at once, by the extra's name and the command that installs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from headrank import extras
from headrank.extras import MissingExtraError, check_extras, check_launcher
from headrank.run import CONFIG_FOLDER
from tests.sweeping import sweeper

ROOT = Path(__file__).parents[1]
NEEDS = {
    "alignment=lora": ("train", "peft"),
    "baselines=[cross_encoder]": ("baselines", "sentence_transformers"),
    "tracking=wandb": ("wandb", "wandb"),
    "baselines=[generative] baselines.generative.backend=vllm": ("vllm", "vllm"),
}
HIDE = """
import sys


class Hide:
    def find_spec(self, name, path=None, target=None):
        if name in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Hide())
"""


@pytest.fixture
def hidden(monkeypatch):
    def hide(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


def run(tmp_path, module, *words, hide):
    (tmp_path / "sitecustomize.py").write_text(HIDE.format(names=set(hide)))
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}", "HEADRANK_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("words", NEEDS)
def test_a_configuration_that_needs_a_missing_extra_names_it(words, hidden):
    extra, module = NEEDS[words]
    with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base="1.3"):
        config = compose("config", words.split())
        plain = compose("config", [])
    hidden(module)
    check_extras(plain)
    with pytest.raises(MissingExtraError) as caught:
        check_extras(config)
    assert f"`{extra}`" in str(caught.value)
    assert f".[{extra}]" in str(caught.value)


@pytest.mark.parametrize(
    "words", [["+experiment=nano", "alignment=none"], ["+experiment=nano", "alignment=none", "tracking=none"]]
)
def test_what_an_experiment_leaves_of_a_group_that_is_not_chosen_needs_nothing(words, hidden):
    hidden("peft", "lightning", "wandb", "sentence_transformers")
    with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base="1.3"):
        config = compose("config", words)
    assert config.alignment.epochs, "the experiment's values are there"
    check_extras(config)


@pytest.mark.parametrize(("name", "extra"), [("processes", "sweep"), ("slurm", "slurm"), ("ray_cpu", "ray")])
def test_a_missing_launcher_names_its_extra(name, extra, hidden):
    hidden(*extras.EXTRAS[extra])
    check_launcher(["-m", "seed=0,1"])
    with pytest.raises(MissingExtraError, match=rf"\[{extra}\]"):
        check_launcher(["-m", "seed=0,1", f"hydra/launcher={name}"])


def test_a_sweep_with_one_job_that_needs_a_missing_extra_starts_none(hidden, tmp_path):
    hidden("peft")
    words = (f"paths.output={tmp_path}", "hydra/sweeper=study", "alignment=none,lora")
    with sweeper(*words) as (made, arguments), pytest.raises(MissingExtraError):
        made.sweep(arguments)
    with sweeper(f"paths.output={tmp_path}", "+sweep=tune_alignment") as (made, arguments):
        hidden("optuna")
        with pytest.raises(MissingExtraError, match=r"\[sweep\]"):
            made.sweep(arguments)
    assert list(tmp_path.iterdir()) == []


def test_without_a_checkout_the_command_names_the_package(monkeypatch):
    monkeypatch.setattr(extras, "PYPROJECT", Path("/nowhere/pyproject.toml"))
    assert extras.install_command("train") == "python -m pip install 'headrank[train]'"
    assert extras.install_command() == "python -m pip install 'headrank'"


def test_a_run_refuses_before_torch_is_loaded(tmp_path):
    done = run(tmp_path, "headrank.run", "alignment=lora", hide=["peft", "torch", "transformers"])
    assert done.returncode == 2
    assert "[train]" in done.stderr
    assert "torch" not in done.stderr


def test_the_doctor_checks_everything_else_without_an_extra(tmp_path):
    done = run(tmp_path, "headrank.doctor", "alignment=lora", "--json", hide=["peft", "lightning"])
    found = {one["part"]: one for one in json.loads(done.stdout)["findings"]}
    assert list(found) == ["packages", "machine", "model", "memory", "data", "disk"]
    assert "not checked" not in {one["name"] for one in found.values()}


def test_the_doctor_says_what_a_missing_package_leaves_unchecked(tmp_path):
    done = run(tmp_path, "headrank.doctor", "--json", hide=["torch"])
    assert done.returncode == 1, done.stderr
    (one,) = (one for one in json.loads(done.stdout)["findings"] if one["name"] == "not checked")
    assert one["state"] == "missing"
    assert "torch" in one["detail"]
