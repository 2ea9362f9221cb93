"""Which of a model's files are there."""

import json
import re
from dataclasses import replace

import pytest
from huggingface_hub import constants

from headrank.doctor import model_files as files
from headrank.doctor.model_files import model_files, model_findings
from headrank.errors import ConfigError
from headrank.experiment import MAIN_SYSTEM
from headrank.model import EMBEDDED_MODEL, EMBEDDED_PACKAGE, BackboneSettings, ChatTemplate, PromptSettings

REVISION = "0123456789abcdef0123456789abcdef01234567"


def write(folder, **contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / name.replace("__", ".").replace("model_", "model-")).write_text(text)
    return folder


def test_a_saved_model_is_whole(model_folder):
    found = model_files(BackboneSettings(model=str(model_folder)))
    assert (found.missing, found.preparation) == ((), None)
    assert found.weight_bytes == (model_folder / "model.safetensors").stat().st_size


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_what_a_folder_lacks_is_named(model_folder, tmp_path, name):
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in model_folder.iterdir():
        if path.name != name:
            (folder / path.name).symlink_to(path)
    assert model_files(BackboneSettings(model=str(folder))).missing == (name,)


def test_every_shard_is_wanted(tmp_path):
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}
    folder = write(tmp_path / "m", config__json="{}", vocab__json="{}", merges__txt="", model_1__safetensors="12345")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    found = model_files(BackboneSettings(model=str(folder)))
    assert found.missing == ("model-2.safetensors",)
    assert found.weight_bytes == 5


def test_a_hub_model_is_looked_for_at_its_revision(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    settings = BackboneSettings(model="org/name", revision=REVISION)
    assert model_files(settings).missing == ("config.json", "tokenizer.json", "model.safetensors")
    snapshot = tmp_path / "models--org--name" / "snapshots" / REVISION
    write(snapshot, config__json="{}", tokenizer__json="{}", model__safetensors="1234567")
    assert model_files(settings) == files.ModelFiles(str(tmp_path), (), 7)
    assert len(model_files(BackboneSettings(model="org/name", revision="f" * 40)).missing) == 3


def test_random_weights_want_no_weights_and_a_family_no_configuration(tmp_path):
    folder = write(tmp_path / "m", tokenizer__json="{}")
    assert model_files(BackboneSettings(model=str(folder), random_weights=True)).missing == ("config.json",)
    assert model_files(BackboneSettings(model=str(folder), random_weights=True, family="qwen3")).missing == ()


def test_the_embedded_model_is_converted_by_the_first_run_or_its_package_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADRANK_CACHE", str(tmp_path))
    for there in (True, False):
        monkeypatch.setattr(files.importlib.util, "find_spec", lambda name, there=there: there or None)
        found = model_files(BackboneSettings())
        assert found.missing == (() if there else (f"the package {EMBEDDED_PACKAGE}",))
        assert bool(found.preparation) == there
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "models" / EMBEDDED_MODEL, config__json="{}", tokenizer__json="{}", model__safetensors="1")
    assert model_files(BackboneSettings()).missing == ()


def test_a_chat_template_that_the_tokenizer_cannot_read(experiment):
    prompt = PromptSettings(chat_template=ChatTemplate("mine", "<|turn|>", ""))
    system = replace(experiment.systems[MAIN_SYSTEM], prompt=prompt)
    with pytest.raises(ConfigError, match=re.escape("<|turn|>")):
        model_findings(replace(experiment, systems={MAIN_SYSTEM: system}), offline=True)
