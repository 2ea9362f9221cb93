"""Estimates of memory: exact where they count, near what is measured where they estimate."""

import pytest
import torch

from headrank.alignment.adapters import MATRICES, READ_LAST, TrainedSettings, checkpoint_activations, prepare_trained
from headrank.model import (
    BackboneSettings,
    Head,
    PromptBuilder,
    PromptSettings,
    load_backbone,
    model_shape,
    read_head_scores,
)

SIZES = {
    "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 32, "vocab_size": 300, "max_position_embeddings": 8192,
}  # fmt: skip


def settings(model_folder, dtype="float32"):
    return BackboneSettings(
        model=str(model_folder), random_weights=True, family="qwen3", overrides=SIZES, dtype=dtype, device="cpu"
    )


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2)])
@pytest.mark.parametrize("depth", [1, 3, 4])
def test_weights_are_counted_exactly(model_folder, dtype, size, depth):
    shape = model_shape(settings(model_folder, dtype))
    model = load_backbone(settings(model_folder, dtype), depth=depth).model
    assert shape.layers == 4
    assert shape.weight_bytes(depth) == size * sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("matrices", [("q_proj", "k_proj"), tuple(MATRICES)])
@pytest.mark.parametrize("part", ["lora", "full"])
def test_trained_parameters_are_counted_but_for_those_beyond_the_readout(model_folder, matrices, part):
    shape = model_shape(settings(model_folder))
    model = load_backbone(settings(model_folder)).model
    trained = prepare_trained(model, 4, TrainedSettings(part=part, matrices=matrices, rank=8))
    rank = 8 if part == "lora" else None
    idle = set(matrices) - {"q_proj", "k_proj"}  # of the deepest layer
    counted = shape.matrix_parameters(matrices, 4, rank) - shape.matrix_parameters(sorted(idle), 1, rank)
    assert counted == sum(parameter.numel() for parameter in trained.values())


@pytest.fixture(scope="module")
def prompt(tokenizer):
    text = "a passage of some length about the tides and the moon"
    return PromptBuilder(tokenizer, PromptSettings()).build("what is it about", [text] * 20, with_null=True)


def test_reading_keeps_no_states_of_earlier_layers(model_folder, prompt, monkeypatch):
    backbone = load_backbone(settings(model_folder))
    forward = type(backbone.model).forward
    kept = []

    def watch(model, *args, **kwargs):
        output = forward(model, *args, **kwargs)
        kept.extend(value for value in (kwargs.get("past_key_values"), kwargs.get("cache")) if value is not None)
        kept.extend(value for name, value in output.items() if name != "last_hidden_state" and value is not None)
        return output

    monkeypatch.setattr(type(backbone.model), "forward", watch)
    with torch.inference_mode():
        read_head_scores(backbone, [prompt], [Head(3, 0)])
    assert kept == []  # so the estimate has no term that grows with the depth


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_is_near_what_the_backward_pass_keeps(model_folder, prompt, dtype, checkpointing):
    backbone = load_backbone(settings(model_folder, dtype))
    shape = model_shape(settings(model_folder, dtype))
    prepare_trained(backbone.model, 4, TrainedSettings(matrices=READ_LAST))
    if checkpointing:
        checkpoint_activations(backbone.model)
        backbone.model.train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in backbone.model.parameters()}
    kept, held = {}, []

    def keep(tensor):
        held.append(tensor)  # so that no storage is used twice
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    heads = [Head(3, n) for n in range(8)]
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
        read_head_scores(backbone, [prompt], heads)
    tokens = len(prompt)
    measured = sum(kept.values()) / tokens
    two, three = (shape.training_bytes(depth, tokens, 0, checkpointing=False) for depth in (2, 3))
    layer = (three - two) / tokens
    computed = layer * (2 if checkpointing else 1)  # what exists in the backward pass only
    estimate = shape.training_bytes(4, tokens, 0, checkpointing=checkpointing) / tokens - computed
    assert estimate == pytest.approx(measured, rel=0.3)
    assert (
        shape.training_bytes(4, tokens, 10, checkpointing=False)
        - shape.training_bytes(4, tokens, 0, checkpointing=False)
        == 10 * 16
    )  # an adapter's parameter, its gradient, two moments, all fp32
