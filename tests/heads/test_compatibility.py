"""Heads of another model: another shape is an error, other weights are a warning."""

import dataclasses
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from headrank import Reranker
from headrank.errors import FormatError, ModelError
from headrank.heads import HeadsFile
from headrank.model import BackboneSettings, load_backbone, save_backbone, weights_fingerprint
from tests.tiny import tiny_backbone

PAIRS = [(1, 2), (0, 3)]


@pytest.fixture
def heads_json(model_folder, tmp_path):
    """Chosen in the tiny Qwen3."""
    path = tmp_path / "heads.json"
    Reranker.from_pretrained(model_folder, PAIRS, device="cpu").heads.save(path)
    return path


def write(backbone, folder):
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
    return folder


def opened_without_a_warning(*args, **options) -> Reranker:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Reranker.from_pretrained(*args, device="cpu", **options)


@pytest.mark.parametrize("shape", [{"layers": 4}, {"heads": 8}, {"heads": 2}])
def test_another_shape_is_an_error_before_weights_are_read(shape, heads_json, tokenizer, tmp_path):
    folder = write(tiny_backbone("qwen3", tokenizer, **shape), tmp_path / "other")
    (folder / "model.safetensors").write_bytes(b"not read")
    for heads in (heads_json, HeadsFile.load(heads_json)):
        with pytest.raises(ModelError, match="3 layers of 4 heads"):
            Reranker.from_pretrained(folder, heads, device="cpu")
    shutil.copy(heads_json, folder / "heads.json")
    with pytest.raises(ModelError, match="3 layers of 4 heads"):
        Reranker.from_pretrained(folder, device="cpu")


def test_a_backbone_of_another_shape_is_an_error(heads_json, tokenizer):
    with pytest.raises(ModelError, match="4 layers"):
        Reranker(tiny_backbone("qwen3", tokenizer, layers=4), HeadsFile.load(heads_json))


def test_other_weights_are_a_warning(heads_json, model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "tuned")
    state = load_file(folder / "model.safetensors")
    state["layers.1.self_attn.q_proj.weight"] *= 1.02
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    for heads in (heads_json, HeadsFile.load(heads_json)):
        with pytest.warns(UserWarning, match=f"{folder}.*tiny-qwen3"):
            Reranker.from_pretrained(folder, heads, device="cpu")


def test_the_same_weights_elsewhere_are_the_same_model(heads_json, model_folder, tmp_path, backbone):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    opened_without_a_warning(copy, heads_json)
    opened_without_a_warning(copy, heads_json, dtype="bfloat16")
    shards = tmp_path / "shards"
    backbone.model.save_pretrained(shards, max_shard_size="20KB")
    backbone.tokenizer.save_pretrained(shards)
    opened_without_a_warning(shards, heads_json)
    low = load_backbone(BackboneSettings(str(model_folder), dtype="bfloat16", device="cpu"), depth=2)
    save_backbone(low, tmp_path / "low")
    opened_without_a_warning(tmp_path / "low", heads_json)


@pytest.mark.parametrize(("name", "value"), [("id", "another/model"), ("revision", "f" * 40)])
def test_without_a_fingerprint_id_and_revision_decide(name, value, heads_json, model_folder):
    file = HeadsFile.load(heads_json)
    model = {key: part for key, part in file.model.items() if key != "weights"}
    opened_without_a_warning(model_folder, dataclasses.replace(file, model=model))
    with pytest.warns(UserWarning, match=value):
        Reranker.from_pretrained(model_folder, dataclasses.replace(file, model={**model, name: value}), device="cpu")


def test_a_saved_folder_is_its_own_model(heads_json, model_folder, tmp_path):
    opened_without_a_warning(model_folder, heads_json).save(tmp_path / "saved")
    again = opened_without_a_warning(tmp_path / "saved")
    assert again.heads == HeadsFile.load(heads_json)
    opened_without_a_warning(tmp_path / "saved", tmp_path / "saved" / "heads.json")
    opened_without_a_warning(model_folder, tmp_path / "saved")


def test_a_fingerprint_is_of_the_layers_in_use(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "copy")
    state = load_file(folder / "model.safetensors")
    state["layers.2.mlp.up_proj.weight"] = torch.zeros_like(state["layers.2.mlp.up_proj.weight"])
    save_file({f"model.{name}": value for name, value in state.items()}, folder / "model.safetensors")
    assert weights_fingerprint(folder, 2) == weights_fingerprint(model_folder, 2)
    assert weights_fingerprint(folder, 3) != weights_fingerprint(model_folder, 3)
    assert weights_fingerprint(folder, 1) != weights_fingerprint(folder, 2)


@pytest.mark.parametrize(
    "text",
    [
        '{"heads": [{"layer": 0, "head": 0, "weight": Infinity}]}',
        '{"heads": [{"layer": 0, "head": 0, "weight": NaN}]}',
        "[" * 100_000,
        '{"heads": ' * 100_000,
        '{"heads": [], "heads": []}',
        '{"heads": [{"layer": ' + "9" * 5000 + ', "head": 0}]}',
        '{"heads": [{"layer": true, "head": 0}]}',
        '{"heads": [{"layer": 0, "head": 0, "weight": "1"}]}',
        '{"heads": {"layer": 0}}',
        '{"heads": [{"layer": 0, "head": 0, "weight": 1' + "0" * 400 + "}]}",
    ],
    ids=["infinity", "nan", "deep list", "deep object", "key twice", "long", "bool", "text", "object", "huge"],
)
def test_a_damaged_file_is_named(text, tmp_path):
    path = tmp_path / "heads.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"heads\.json"):
        HeadsFile.load(path)
