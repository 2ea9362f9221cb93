"""Loading, cutting and saving: the cut model is the whole model's first layers, and nothing else is read."""

import json
from pathlib import Path

import pytest
import torch
import transformers.modeling_utils
from safetensors import safe_open
from transformers import AutoModel

from headrank.errors import ConfigError, ModelError
from headrank.model import (
    Backbone,
    BackboneSettings,
    PromptBuilder,
    all_heads,
    count_layers,
    load_backbone,
    read_head_scores,
    save_backbone,
)
from tests.tiny import tiny_backbone

SLIDING = {"use_sliding_window": True, "sliding_window": 120, "max_window_layers": 1}
LISTS = [("why?", ["the first passage", "", "x" * 30, "the first passage"]), ("q", ["alone"])]


def settings(folder: Path, **options) -> BackboneSettings:
    return BackboneSettings(str(folder), device="cpu", **options)


def write(backbone: Backbone, folder: Path, **options) -> Path:
    backbone.model.save_pretrained(folder, **options)
    backbone.tokenizer.save_pretrained(folder)
    return folder


def head_scores(backbone: Backbone, heads):
    prompts = PromptBuilder(backbone.tokenizer).build_many(LISTS, with_null=True)
    with torch.no_grad():
        return read_head_scores(backbone, prompts, heads)


@pytest.mark.parametrize(
    ("family", "extra"),
    [("qwen3", {}), ("llama", {}), ("qwen2", {}), ("qwen2", SLIDING), ("mistral", {"sliding_window": 120})],
    ids=["qwen3", "llama", "qwen2", "qwen2-sliding", "mistral"],
)
@pytest.mark.parametrize("depth", [1, 2])
def test_a_cut_model_is_the_whole_models_first_layers(family, extra, depth, tokenizer, tmp_path):
    folder = write(tiny_backbone(family, tokenizer, **extra), tmp_path / "model")
    whole, cut = load_backbone(settings(folder)), load_backbone(settings(folder), depth=depth)
    assert (whole.depth, whole.layers, cut.depth, cut.layers) == (3, 3, depth, 3)
    assert len(cut.model.layers) == depth
    assert not any(f"layers.{depth}." in name for name, _ in cut.model.named_parameters())
    heads = all_heads(depth, 4)
    for a, b in zip(head_scores(whole, heads), head_scores(cut, heads), strict=True):
        assert torch.equal(a.query, b.query)
        assert torch.equal(a.null, b.null)
        assert a.query.max() > 0.01


def test_what_is_loaded_is_what_was_saved(backbone, model_folder):
    loaded = load_backbone(settings(model_folder))
    assert not loaded.model.training
    assert loaded.device == torch.device("cpu")
    for a, b in zip(head_scores(backbone, all_heads(3, 4)), head_scores(loaded, all_heads(3, 4)), strict=True):
        assert torch.equal(a.query, b.query)


class _Slice:
    def __init__(self, inner, name: str, read: set[str]) -> None:
        self._inner, self._name, self._read = inner, name, read

    def __getitem__(self, index):
        self._read.add(self._name)
        return self._inner[index]

    def __getattr__(self, name):
        return getattr(self._inner, name)


@pytest.mark.parametrize("shard", ["10MB", "20KB"])
def test_only_the_layers_in_use_are_read_from_disk(shard, backbone, tmp_path, monkeypatch):
    """transformers opens every shard for its table of contents; a tensor's bytes are read when its slice is taken."""
    folder = write(backbone, tmp_path / "model", max_shard_size=shard)
    assert (len(list(folder.glob("*.safetensors"))) > 2) == (shard == "20KB")
    read: set[str] = set()

    class Spy:
        def __init__(self, *args, **kwargs) -> None:
            self._inner = safe_open(*args, **kwargs)

        def get_slice(self, name):
            return _Slice(self._inner.get_slice(name), name, read)

        def get_tensor(self, name):
            read.add(name)
            return self._inner.get_tensor(name)

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return self._inner.__exit__(*args)

        def __getattr__(self, name):
            return getattr(self._inner, name)

    monkeypatch.setattr(transformers.modeling_utils, "safe_open", Spy)
    cut = load_backbone(settings(folder), depth=1)
    assert read == set(cut.model.state_dict())
    read.clear()
    load_backbone(settings(folder))
    assert {name.split(".")[1] for name in read if name.startswith("layers.")} == {"0", "1", "2"}


def test_a_saved_cut_opens_with_plain_transformers(backbone, tmp_path):
    """The attention in the file is none of ours, and the hidden states are the same."""
    source = write(backbone, tmp_path / "whole")
    cut = load_backbone(settings(source), depth=2)
    save_backbone(cut, tmp_path / "cut")
    names = {path.name for path in (tmp_path / "cut").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    ids = torch.arange(3, 60)[None]
    plain = AutoModel.from_pretrained(tmp_path / "cut", dtype=torch.float32)
    assert plain.config._attn_implementation == "sdpa"
    with torch.no_grad():
        assert torch.equal(plain(ids).last_hidden_state, cut.model(ids).last_hidden_state)

    again = load_backbone(settings(tmp_path / "cut"))
    assert (again.depth, again.layers) == (2, 3)  # it knows how deep the model was
    for a, b in zip(head_scores(cut, all_heads(2, 4)), head_scores(again, all_heads(2, 4)), strict=True):
        assert torch.equal(a.query, b.query)
    assert count_layers(settings(tmp_path / "cut")) == (2, 4)
    shallower = load_backbone(settings(tmp_path / "cut"), depth=1)
    assert (shallower.depth, shallower.layers) == (1, 3)
    with pytest.raises(ValueError, match="depth 3 is not within"):
        load_backbone(settings(tmp_path / "cut"), depth=3)


def test_dtypes(model_folder):
    assert load_backbone(settings(model_folder)).model.dtype == torch.float32
    low = load_backbone(settings(model_folder, dtype="bfloat16"), depth=1)
    assert {parameter.dtype for parameter in low.model.parameters()} == {torch.bfloat16}


def test_counting_reads_no_weights(model_folder, tmp_path):
    (tmp_path / "config.json").write_text((model_folder / "config.json").read_text())
    assert count_layers(settings(tmp_path)) == (3, 4)


def test_the_report_of_unused_weights_stays_quiet_and_others_do_not(model_folder, capfd):
    load_backbone(settings(model_folder), depth=1)
    out, err = capfd.readouterr()
    assert "UNEXPECTED" not in out + err
    assert transformers.logging.get_logger("transformers.modeling_utils").getEffectiveLevel() <= 30


def test_random_weights(model_folder, tokenizer):
    state = torch.get_rng_state()
    options = {"random_weights": True, "overrides": {"num_hidden_layers": 5, "hidden_size": 16}}
    one, two = (load_backbone(settings(model_folder, **options), depth=4) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's random numbers are touched
    assert (one.depth, one.layers, one.config.hidden_size) == (4, 5, 16)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))
    family = BackboneSettings(
        str(model_folder),
        device="cpu",
        random_weights=True,
        family="llama",
        overrides={"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
                   "num_attention_heads": 2, "num_key_value_heads": 1},
    )  # fmt: skip
    assert load_backbone(family).config.model_type == "llama"
    assert count_layers(family) == (2, 2)


@pytest.mark.parametrize("depth", [0, -1, 4])
def test_depth_outside_of_the_model(depth, model_folder):
    with pytest.raises(ValueError, match=rf"depth {depth} is not within .*tiny-qwen3, which has 3 layers"):
        load_backbone(settings(model_folder), depth=depth)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"kernel": "eager"}, "kernel is 'eager'"),
        ({"kernel": "flex_attention"}, "'flex_attention'.*sdpa, flash_attention_2, flash_attention_3"),
        ({"overrides": {"num_hidden_layers": 2}}, "overrides.*random_weights"),
        ({"family": "llama"}, "family.*random_weights"),
    ],
)
def test_settings_that_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        BackboneSettings(**options)


def test_folders_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model folder .*none does not exist"):
        load_backbone(settings(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"model folder none does not exist"):
        load_backbone(BackboneSettings("./none"))
    with pytest.raises(FileNotFoundError, match=r"has no config.json: it is not a Hugging Face model folder"):
        load_backbone(settings(tmp_path))


def test_a_hub_id_that_cannot_be_had_is_named():
    with pytest.raises(OSError, match="nobody/no-such-model"):
        load_backbone(BackboneSettings("nobody/no-such-model"))


def test_a_folder_without_weights_says_so(model_folder, tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((model_folder / name).read_text())
    with pytest.raises(OSError, match=r"model\.safetensors"):
        load_backbone(settings(tmp_path))


def test_pickled_weights_are_not_opened(model_folder, tmp_path):
    """Weights come only as safetensors: a .bin is a pickle, which can run code."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((model_folder / name).read_text())
    state = AutoModel.from_pretrained(model_folder).state_dict()
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_backbone(settings(tmp_path))


def test_code_in_a_model_folder_is_not_run(model_folder, tmp_path):
    config = json.loads((model_folder / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "strange.Strange", "AutoModel": "strange.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "strange.py").write_text("raise SystemExit('was run')")
    with pytest.raises(ModelError, match="strange"):
        load_backbone(settings(tmp_path))
