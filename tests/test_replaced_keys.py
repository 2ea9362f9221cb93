"""Keys of earlier versions are refused with what replaces them, wherever they are written."""

from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from headrank.errors import ConfigError
from headrank.replaced_keys import REPLACED, replacement
from headrank.run import compose_config, experiment_from_config, explanation
from tests.sweeping import sweeper

CHOSEN = ["alignment=lora", "baselines=[icr]"]  # options whose groups held the keys
KEYS = [key.replace("*", "icr") for key in REPLACED]
OF_EXPERIMENTS = [key for key in KEYS if not key.startswith("hydra.")]


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as error:
        experiment_from_config(compose_config(words), Path("unused"))
    return str(error.value)


def replaced(key: str) -> str:
    new = replacement(key)
    assert new is not None
    return new


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("override", ["{}=1", "~{}"])
def test_an_override_of_a_replaced_key(key, override):
    said = refusal(*CHOSEN, override.format(key))
    assert said.startswith(f"{key}: ")
    assert replaced(key) in said


@pytest.mark.parametrize("key", OF_EXPERIMENTS)
def test_an_added_replaced_key(key):
    said = refusal(*CHOSEN, f"+{key}=1")
    assert said.startswith(f"{key}: ")
    assert replaced(key) in said


@pytest.mark.parametrize("key", OF_EXPERIMENTS)
def test_a_replaced_key_in_a_users_experiment(key, tmp_path):
    (tmp_path / "experiment").mkdir()
    content = OmegaConf.to_yaml(OmegaConf.from_dotlist([f"{key}=1"]))
    (tmp_path / "experiment/mine.yaml").write_text(f"# @package _global_\n{content}")
    said = refusal(f"hydra.searchpath=[file://{tmp_path}]", "+experiment=mine", *CHOSEN)
    assert said.startswith(f"{key}: ")
    assert replaced(key) in said


def test_a_replaced_key_in_an_option_of_a_user(tmp_path):
    (tmp_path / "alignment").mkdir()
    (tmp_path / "alignment/mine.yaml").write_text("defaults: [lora, _self_]\nrank: 4\n")
    assert "alignment.trained.rank" in refusal(f"hydra.searchpath=[file://{tmp_path}]", "alignment=mine")


def test_an_interpolation_of_a_replaced_key():
    assert "alignment.optimizer.lr" in refusal("alignment=lora", "alignment.temperature=${alignment.lr}")


def test_a_replaced_key_that_a_sweep_varies():
    with (
        sweeper("hydra/sweeper=study", "alignment=lora", "alignment.lr=1e-4,1e-3") as (made, arguments),
        pytest.raises(ConfigCompositionException) as error,
    ):
        made.jobs(arguments)
    assert "alignment.optimizer.lr" in explanation(error.value, error.value.job_overrides)


def test_a_group_that_is_switched_off_has_no_replaced_keys():
    config = compose_config(["alignment=none", "+alignment.lr=1"])
    assert experiment_from_config(config, Path("unused")).alignment is None


def test_keys_below_a_replaced_key():
    assert replacement("hydra.launcher.ray.init.address") == "hydra.launcher.init.address"
    assert replacement("report.columns.suite") == replacement("report.columns")
    assert replacement("alignment.optimizer.lr") is replacement("lr") is None


@pytest.mark.parametrize("key", [key for key in OF_EXPERIMENTS if " " not in replaced(key)])
def test_a_replacement_is_a_key(key):
    parent, _, name = replaced(key).rpartition(".")
    assert name in OmegaConf.select(compose_config(CHOSEN), parent)
