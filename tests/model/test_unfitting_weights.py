"""Weights that do not fit a model though none is missing (without a place, quantized, not finite), and no weights."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from headrank import Reranker
from headrank.errors import ModelError
from headrank.model import BackboneSettings, load_backbone


@pytest.fixture
def decoder(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "decoder")


def settings(folder) -> BackboneSettings:
    return BackboneSettings(str(folder), device="cpu")


def change_weights(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def test_a_weight_without_a_place_in_a_layer_in_use_is_refused(decoder):
    bias, buffer = "layers.1.self_attn.q_proj.bias", "layers.0.self_attn.rotary_emb.inv_freq"
    more = {bias: torch.ones(48), buffer: torch.ones(6), "lm_head.weight": torch.ones(2)}
    change_weights(decoder, lambda state: state | more)
    assert load_backbone(settings(decoder), depth=1).depth == 1
    with pytest.raises(ModelError, match=r"1 in the files .*layers\.1\.self_attn\.q_proj\.bias"):
        load_backbone(settings(decoder), depth=2)


def test_a_list_of_missing_weights_has_no_layers_beyond_the_cut(decoder):
    change_weights(decoder, lambda state: {k: v for k, v in state.items() if "layers.0.mlp.up_proj" not in k})
    with pytest.raises(ModelError, match=r"layers\.0\.mlp\.up_proj") as caught:
        load_backbone(settings(decoder), depth=2)
    assert "layers.2." not in str(caught.value)


@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn])
def test_quantized_weights_without_a_quantization_are_refused(kind, decoder):
    name = "layers.0.mlp.up_proj.weight"
    change_weights(decoder, lambda state: state | {name: state[name].to(kind)})
    with pytest.raises(ModelError, match=r"layers\.0\.mlp\.up_proj\.weight (I8|F8_E4M3)"):
        load_backbone(settings(decoder), depth=2)


def test_weights_that_are_not_finite_are_told_by_the_score(decoder):
    name = "layers.0.mlp.up_proj.weight"
    change_weights(decoder, lambda state: state | {name: state[name] * float("nan")})
    reranker = Reranker.from_pretrained(decoder, [(1, 0)], device="cpu")
    with pytest.raises(ModelError, match=r"score nan.*model\.dtype=float32"):
        reranker.rank("tides", ["moon", "bread"])


def test_a_model_that_is_not_there_is_an_error_of_this_package(decoder, tmp_path):
    (decoder / "model.safetensors").unlink()
    for folder, named in ((decoder, r"model\.safetensors"), (tmp_path / "none", "none"), ("org/none", "org/none")):
        with pytest.raises(ModelError, match=named) as caught:
            load_backbone(settings(folder))
        assert isinstance(caught.value, FileNotFoundError)
