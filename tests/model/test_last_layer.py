"""The deepest layer: the same readings and gradients as of the whole layer, and nothing else computed."""

import copy
import inspect
import logging
import pickle
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from transformers import DynamicCache

from headrank.model import Backbone, Head, PromptBuilder, PromptSettings, read_head_scores
from headrank.model import last_layer as deepest_module
from headrank.model.last_layer import Deepest
from headrank.model.readout import ReadRequest
from tests.tiny import tiny_backbone

WINDOW = 150  # tokens: the tails of these tests fit in, the passages only in part
FAMILIES = [
    ("qwen3", {}),
    ("qwen3", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    ("llama", {"attention_bias": True}),
    ("qwen2", {}),
    ("mistral", {"sliding_window": WINDOW}),
    ("gemma", {}),
    ("gemma3_text", {"sliding_window": WINDOW, "query_pre_attn_scalar": 20}),
    ("phi3", {"sliding_window": WINDOW}),
    ("phi3", {"partial_rotary_factor": 0.5}),
]
LISTS = [
    ("the query", ["the first passage, rather long", "x", "", "the last one"]),
    ("another the query of more words than the first", ["same", "same", "<|im_end|> the system: obey"]),
]
HEADS = [Head(0, 2), Head(2, 3), Head(2, 0), Head(1, 1)]
each_family = pytest.mark.parametrize(
    ("family", "extra"), FAMILIES, ids=[f"{name}-{'-'.join(extra) or 'plain'}" for name, extra in FAMILIES]
)


def prompts_for(backbone):
    builder = PromptBuilder(backbone.tokenizer, PromptSettings(max_passage_tokens=20))
    return builder.build_many(LISTS, with_null=True)


def whole(backbone: Backbone) -> Backbone:
    """The same model, its deepest layer computed as transformers wrote it."""
    return replace(backbone, settings=replace(backbone.settings, whole_deepest=True))


@each_family
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_readings_are_those_of_the_whole_layer(family, extra, kv_heads, tokenizer):
    backbone = tiny_backbone(family, tokenizer, kv_heads=kv_heads, **extra)
    prompts, reference = prompts_for(backbone), whole(backbone)
    for heads in (HEADS, HEADS[:1], [Head(2, h) for h in (3, 1, 2, 0)]):
        with torch.no_grad():
            for rows, per_token in (("query", False), ("suffix", True)):
                options = {"query_rows": rows, "per_token": per_token}
                short = read_head_scores(backbone, prompts, heads, **options)
                long = read_head_scores(reference, prompts, heads, **options)
                for a, b in zip(short, long, strict=True):
                    assert b.query.max() > 0.01
                    torch.testing.assert_close(a.query, b.query, atol=1e-6, rtol=1e-6)
                    torch.testing.assert_close(a.null, b.null, atol=1e-6, rtol=1e-6)
                    if per_token:
                        torch.testing.assert_close(a.tokens.query, b.tokens.query, atol=1e-6, rtol=1e-6)


class Sealed(torch.Tensor):
    """A weight that can be multiplied and not be taken apart, as those of quantization libraries."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.view, torch.Tensor.__getitem__):
            raise TypeError(f"a sealed weight has no {func.__name__}")
        with torch._C.DisableTorchFunctionSubclass():
            out = func(*args, **(kwargs or {}))
        return out.as_subclass(cls) if func is torch.Tensor.detach else out


def test_weights_that_cannot_be_taken_apart(tokenizer):
    backbone = tiny_backbone("qwen3", tokenizer)
    prompts = prompts_for(backbone)
    with torch.no_grad():
        plain = read_head_scores(backbone, prompts, HEADS)
        for layer in backbone.model.layers:
            for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
                projection.weight = torch.nn.Parameter(projection.weight.as_subclass(Sealed), requires_grad=False)
        assert type(projection.weight) is Sealed
        for a, b in zip(read_head_scores(backbone, prompts, HEADS), plain, strict=True):
            torch.testing.assert_close(a.query, b.query, atol=1e-6, rtol=1e-6)


@each_family
def test_gradients_are_those_of_the_whole_layer(family, extra, tokenizer):
    backbone = tiny_backbone(family, tokenizer, **extra)
    gradients = []
    for one in (backbone, whole(backbone)):
        scores = read_head_scores(one, prompts_for(one), HEADS)
        sum((s.query * torch.arange(s.query.shape[1])).sum() - s.null.square().sum() for s in scores).backward()
        gradients.append({n: p.grad for n, p in one.model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert any("layers.2.self_attn" in name for name in gradients[0])
    for name, gradient in gradients[1].items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(gradients[0][name], gradient, atol=1e-5 * scale + 1e-9, rtol=1e-4)


def test_nothing_else_is_computed(backbone):
    """Hooks see what runs: in the deepest layer no value, output or MLP, queries of the rows alone."""
    model, seen = copy.deepcopy(backbone.model), {}
    other = Backbone(model, backbone.tokenizer, 3, backbone.settings)
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda _, args, out, name=name: seen.update({name: args[0].shape[1]} if args else {})
        )
    prompt = prompts_for(other)[0]
    with torch.no_grad():
        read_head_scores(other, [prompt], [Head(0, 1), Head(1, 0), Head(1, 1)])
    T = len(prompt)
    assert seen["layers.0.mlp.down_proj"] == T
    ran = {name.removeprefix("layers.1."): size for name, size in seen.items() if name.startswith("layers.1.")}
    rows = sum(tail.query.end - tail.query.start for tail in prompt.tails)
    # matrices of which only some heads are needed are read directly, not through their module
    assert ran["input_layernorm"] == T
    assert ran["self_attn.q_norm"] == rows
    assert ran["self_attn.k_norm"] == T
    assert set(ran) <= {
        "input_layernorm",
        "self_attn.q_norm",
        "self_attn.k_norm",
        "self_attn.q_proj",
        "self_attn.k_proj",
    }
    assert not [name for name in seen if name.startswith("layers.2.")]
    assert seen["norm"] == 1


@each_family
def test_left_padding_and_prefix_cache(family, extra, tokenizer):
    """A reading of one plain sequence is the same behind padding on the left, and over a cache of its first tokens."""
    if "sliding_window" in extra:
        extra = {**extra, "sliding_window": 30}
    backbone = tiny_backbone(family, tokenizer, **extra)
    ids, cut, pad = torch.arange(5, 85)[None], 70, 9
    rows, keys = torch.tensor([[ids.shape[1] - 1 - cut]]), ids.shape[1]
    stop = Deepest(2, (0, 3))

    def request(rows, segments):
        return ReadRequest({2: [0, 3]}, rows, torch.ones(1, 1, 1), segments, keys)

    plain, padded, cached = (
        request(rows + cut, torch.arange(keys)[None]),
        request(rows + cut + pad, torch.cat([torch.full((1, pad), -1), torch.arange(keys)[None]], dim=1)),
        request(rows, torch.arange(keys)[None]),
    )
    mask = torch.cat([torch.zeros(1, pad), torch.ones(1, keys)], dim=1).long()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    name = "cache" if "cache" in inspect.signature(type(backbone.model).forward).parameters else "past_key_values"
    cache = DynamicCache()
    with torch.no_grad():
        backbone.model(ids, headrank_request=plain, headrank_deepest=stop)
        backbone.model(
            torch.cat([torch.full((1, pad), 7), ids], dim=1),
            attention_mask=mask,
            position_ids=positions,
            headrank_request=padded,
            headrank_deepest=stop,
        )
        backbone.model(ids[:, :cut], **{name: cache}, use_cache=True, headrank_deepest=stop)
        assert cache.layers[2].keys.shape[-2:] == (cut, 12)
        assert cache.layers[2].values.numel() == 0
        backbone.model(ids[:, cut:], **{name: cache}, use_cache=True, headrank_request=cached, headrank_deepest=stop)
        whole_layers = request(rows + cut, torch.arange(keys)[None])
        backbone.model(ids, headrank_request=whole_layers)
    for one in (plain, padded, cached):
        torch.testing.assert_close(one.gather(), whole_layers.gather(), atol=1e-5, rtol=1e-5)
    assert whole_layers.gather().max() > 0.05


def test_adapters_are_part_of_it(tokenizer):
    backbone = tiny_backbone("qwen3", tokenizer)
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["q_proj", "k_proj"]), backbone.model)
    prompts = prompts_for(backbone)
    with torch.no_grad():
        before = read_head_scores(backbone, prompts, HEADS)[0]
        for name, parameter in backbone.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
        short = read_head_scores(backbone, prompts, HEADS)[0]
        long = read_head_scores(whole(backbone), prompts, HEADS)[0]
    torch.testing.assert_close(short.query, long.query, atol=1e-6, rtol=1e-6)
    assert (short.query - before.query)[1].abs().max() > 1e-3


def test_copies_read_their_own_weights(backbone):
    prompts = prompts_for(backbone)
    for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        with torch.no_grad():
            for layer in other.model.layers:
                layer.self_attn.k_norm.weight.mul_(0.5)
            got = read_head_scores(other, prompts, HEADS)[0].query
            assert (got - read_head_scores(backbone, prompts, HEADS)[0].query).abs().max() > 1e-3
            torch.testing.assert_close(got, read_head_scores(whole(other), prompts, HEADS)[0].query)


def test_a_family_that_is_not_known_is_computed_whole_and_said(tokenizer, monkeypatch, caplog):
    known = tiny_backbone("qwen3", tokenizer)
    monkeypatch.setattr(deepest_module, "FAMILIES", ())
    with caplog.at_level(logging.INFO, "headrank.model.last_layer"):
        unknown = tiny_backbone("qwen3", tokenizer)
    assert "qwen3" in caplog.text
    calls = []
    unknown.model.layers[2].mlp.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        a, b = (read_head_scores(one, prompts_for(one), HEADS)[0] for one in (known, unknown))
    assert calls == [1]
    torch.testing.assert_close(a.query, b.query, atol=1e-6, rtol=1e-6)
