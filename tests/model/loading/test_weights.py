"""Weights that are missing, damaged, or do not fit (without a place in the model, quantized, not finite)."""

import pytest
import torch

from headrank import Reranker
from headrank.baselines.cross_encoder import open_cross_encoder
from headrank.baselines.language_model import load_language_model
from headrank.errors import ModelError
from headrank.model import load_backbone
from tests.model.loading.saved_models import WEIGHTS, change_json, change_weights, settings, without


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


MISSING = {
    "one tensor": (without("layers.1.mlp.up_proj"), r"layers\.1\.mlp\.up_proj\.weight"),
    "a norm": (without("layers.0.self_attn.q_norm"), r"layers\.0\.self_attn\.q_norm\.weight"),
    "a layer": (without("layers.1."), r"layers\.1\."),
    "the embeddings": (without("embed_tokens"), r"embed_tokens\.weight"),
    "all, under another prefix": (lambda state: {f"base.{k}": v for k, v in state.items()}, r"base\."),
    "of another shape": (
        lambda state: {k: torch.zeros(3, 5) if "layers.0.self_attn.k_proj" in k else v for k, v in state.items()},
        r"layers\.0\.self_attn\.k_proj\.weight \(3, 5\)",
    ),
}


@pytest.mark.parametrize("case", MISSING)
def test_missing_weights_are_an_error_that_names_them(case, decoder, generator):
    change, named = MISSING[case]
    for folder, load in ((decoder, lambda s: load_backbone(s, depth=2)), (generator, load_language_model)):
        change_weights(folder, change)
        with pytest.raises(ModelError, match=named):
            load(settings(folder))
        assert load(settings(folder, random_weights=True)).model is not None  # on purpose


def test_weights_beyond_the_cut_may_be_missing(decoder):
    change_weights(decoder, without("layers.2.", "layers.1.mlp"))
    assert load_backbone(settings(decoder), depth=1).depth == 1
    with pytest.raises(ModelError, match=r"3 missing \(layers\.1\.mlp"):
        load_backbone(settings(decoder), depth=2)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "cut in its header"])
def test_damaged_weights_are_named(damage, decoder, generator, encoder):
    for folder, load in ((decoder, load_backbone), (generator, load_language_model), (encoder, open_cross_encoder)):
        whole = (folder / WEIGHTS).read_bytes()
        parts = {"cut": whole[:-100], "garbage": b"x" * 99, "empty": b"", "cut in its header": whole[:50]}
        (folder / WEIGHTS).write_bytes(parts[damage])
        with pytest.raises(ModelError, match=rf"{folder.name}/model\.safetensors"):
            load(settings(folder))


def test_damaged_and_missing_shards_are_named(backbone, tmp_path):
    folder = tmp_path / "sharded"
    backbone.model.save_pretrained(folder, max_shard_size="20KB")
    backbone.tokenizer.save_pretrained(folder)
    assert load_backbone(settings(folder)).depth == 3
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=shard.name):
        load_backbone(settings(folder))
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=shard.name):
        load_backbone(settings(folder))
    for text in ("{", "[]", '{"weight_map": {}}', '{"weight_map": {"a": "../a.safetensors"}}', "[" * 100_000):
        (folder / "model.safetensors.index.json").write_text(text)
        with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json"):
            load_backbone(settings(folder))


def test_weights_in_other_files_are_not_opened(decoder):
    change_json(decoder / "config.json", transformers_weights="adapter_model.bin")
    with pytest.raises(ModelError, match=r"adapter_model\.bin"):
        load_backbone(settings(decoder))
