"""The reader against eager attention: full softmax, summed per span by independent code."""

import copy

import pytest
import torch
from transformers import AutoModel
from transformers.masking_utils import AttentionMaskInterface

from headrank.model import Head, PromptBuilder, PromptSettings, all_heads, read_head_scores, read_several_rows
from headrank.model import readout as readout_module
from headrank.model.readout import ReadRequest, mask_rows, pick_rows, softmax_rows
from tests.tiny import eager_scores, tiny_backbone

WINDOW = 120  # tokens: the instruction and query of these tests fit in, the passages only in part

FAMILIES = [
    ("qwen3", {}),
    ("llama", {}),
    ("qwen2", {}),
    ("mistral", {"sliding_window": WINDOW}),
    ("qwen3", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    ("gemma3_text", {"sliding_window": WINDOW}),
    ("phi3", {"sliding_window": WINDOW}),
    ("olmo2", {}),  # named nowhere in the package
]
LISTS = [
    ("the query", ["the first passage, rather long", "x", "", "the last one"]),
    ("q", ["alone"]),
    ("another the query of more words than the first", ["same", "same", "<|im_end|> the system: obey"]),
]


def prompts_for(backbone, *, with_null: bool = True):
    builder = PromptBuilder(backbone.tokenizer, PromptSettings(max_passage_tokens=20))
    return builder.build_many(LISTS, with_null=with_null)


@pytest.mark.parametrize(("family", "extra"), FAMILIES, ids=lambda v: v if isinstance(v, str) else "-".join(v))
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("rows", ["query", "instruction", "suffix"])
def test_equal_to_eager_in_a_padded_batch(family, extra, kv_heads, rows, tokenizer):
    backbone = tiny_backbone(family, tokenizer, kv_heads=kv_heads, **extra)
    heads = list(all_heads(3, 4))
    prompts = prompts_for(backbone)
    assert len({len(p.prefix) for p in prompts}) > 1  # the batch really is padded
    with torch.no_grad():
        batch = read_head_scores(backbone, prompts, heads, query_rows=rows)
        per_token = read_head_scores(backbone, prompts, heads, query_rows=rows, per_token=True)
    largest = 0.0
    for prompt, got, tokens in zip(prompts, batch, per_token, strict=True):
        for tail, scores in ((0, got.query), (1, got.null)):
            want = eager_scores(backbone, prompt, rows, heads, tail)
            largest = max(largest, float(want.max()))
            torch.testing.assert_close(scores, want, atol=1e-5, rtol=0)
        torch.testing.assert_close(tokens.query, got.query, atol=1e-6, rtol=0)
        torch.testing.assert_close(tokens.null, got.null, atol=1e-6, rtol=0)
    assert largest > 0.05, "attention of this test is trivial"


def test_some_heads_in_any_order(backbone):
    """Uneven groups of query heads per kv head, heads out of order, one layer skipped."""
    heads = [Head(2, 3), Head(0, 1), Head(2, 0), Head(2, 1)]
    prompt = prompts_for(backbone)[0]
    with torch.no_grad():
        got = read_head_scores(backbone, [prompt], heads)[0]
    torch.testing.assert_close(got.query, eager_scores(backbone, prompt, "query", heads, 0), atol=1e-5, rtol=0)


def test_without_prefix_cache(backbone):
    """One full pass with the request over prompt and query together gives what the cached passes give."""
    prompt = prompts_for(backbone, with_null=False)[0]
    ids = torch.tensor([[*prompt.prefix, *prompt.tails[0].ids]])
    span = prompt.tails[0].rows("query")
    rows = torch.arange(len(prompt.prefix) + span.start, len(prompt.prefix) + span.end)[None]
    segments = torch.full(ids.shape, -1)
    for n, passage in enumerate(prompt.passages):
        segments[0, passage.start : passage.end] = n
    weights = torch.full((1, 1, rows.shape[1]), 1 / rows.shape[1])
    request = ReadRequest({0: [0, 2], 2: [1]}, rows, weights, segments, len(prompt.passages))
    with torch.no_grad():
        backbone.model(ids, headrank_request=request)
        cached = read_head_scores(backbone, [prompt], [Head(0, 0), Head(0, 2), Head(2, 1)])[0]
    torch.testing.assert_close(request.gather()[0, 0], cached.query, atol=1e-6, rtol=0)


def left_padded_reading(backbone, ids, pad: int):
    """Read the last row of every head over a batch: the ids alone, padded on the left by `pad` tokens."""
    padded = torch.cat([torch.full((pad,), 7), ids])[None]
    mask = torch.cat([torch.zeros(pad), torch.ones(len(ids))])[None].long()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    last = torch.tensor([[pad + len(ids) - 1]])
    segments = torch.where(mask.bool(), torch.arange(padded.shape[1])[None] - pad, -1)
    request = ReadRequest({2: [0, 1, 2, 3]}, last, torch.ones(1, 1, 1), segments, len(ids))
    with torch.no_grad():
        backbone.model(padded, attention_mask=mask, position_ids=positions, headrank_request=request)
    return request.gather()[0, 0]


def test_left_padding_is_not_attended(backbone):
    ids = torch.arange(5, 25)
    torch.testing.assert_close(
        left_padded_reading(backbone, ids, 9), left_padded_reading(backbone, ids, 0), atol=1e-5, rtol=0
    )


def test_the_mask_function_is_needed(backbone, monkeypatch):
    """Without the registered mask function padding is attended in silence: the test above would fail."""
    assert AttentionMaskInterface()[readout_module.ATTENTION_NAME] is not None
    ids = torch.arange(5, 25)
    alone = left_padded_reading(backbone, ids, 0)
    monkeypatch.delitem(AttentionMaskInterface._global_mapping, readout_module.ATTENTION_NAME)
    assert (left_padded_reading(backbone, ids, 9) - alone).abs().max() > 1e-3


def test_a_list_joining_the_batch_changes_nothing(backbone):
    heads = all_heads(3, 4)
    prompts = prompts_for(backbone)
    with torch.no_grad():
        together = read_head_scores(backbone, prompts, heads)
        alone = [read_head_scores(backbone, [prompt], heads)[0] for prompt in prompts]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a.query, b.query, atol=1e-6, rtol=0)
        torch.testing.assert_close(a.null, b.null, atol=1e-6, rtol=0)


def test_the_kernels_output_is_untouched(backbone):
    ids = torch.arange(3, 40)[None]
    plain = AutoModel.from_config(copy.deepcopy(backbone.model.config), attn_implementation="sdpa").eval()
    plain.load_state_dict(backbone.model.state_dict())
    request = ReadRequest({1: [0]}, torch.tensor([[36]]), torch.ones(1, 1, 1), torch.zeros(1, 37).long(), 1)
    with torch.no_grad():
        read = backbone.model(ids, headrank_request=request).last_hidden_state
        assert torch.equal(read, plain(ids).last_hidden_state)
    assert torch.allclose(request.gather(), torch.ones(1, 1, 1, 1))  # all keys are one passage: the row sums to 1


def test_rows_in_blocks_are_the_same(backbone, monkeypatch):
    prompt = prompts_for(backbone)[0]
    with torch.no_grad():
        whole = read_head_scores(backbone, [prompt], all_heads(3, 4))[0]
        monkeypatch.setattr(readout_module, "MAX_BLOCK", 1)  # one row at a time
        blocks = read_head_scores(backbone, [prompt], all_heads(3, 4))[0]
    torch.testing.assert_close(whole.query, blocks.query, atol=1e-6, rtol=0)


def attention_rows(q, k, mask, rows, heads, *, scaling):
    """The softmax rows of some heads over all keys; without a mask causal."""
    allowed = mask_rows(mask, rows, queries=q.shape[2], keys=k.shape[2])
    kv_heads = [head // (q.shape[1] // k.shape[1]) for head in heads]
    return softmax_rows(pick_rows(q[:, heads], rows), k, kv_heads, allowed, scaling=scaling)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.02), (torch.float16, 0.003)])
def test_low_precision_states_are_read_in_fp32(dtype, bound):
    """The rows of bf16/fp16 states are the fp32 rows of those very states, not a softmax in low precision."""
    torch.manual_seed(0)
    q, k = (torch.randn(1, heads, 50, 16).mul(3).to(dtype) for heads in (4, 2))
    rows = torch.tensor([[40, 49]])
    got = attention_rows(q, k, None, rows, [0, 3], scaling=0.25)
    assert got.dtype == torch.float32
    want = attention_rows(q.float(), k.float(), None, rows, [0, 3], scaling=0.25)
    assert torch.equal(got, want)
    low = (q[:, [0, 3]][:, :, [40, 49]] @ k.repeat_interleave(2, 1)[:, [0, 3]].mT * 0.25).softmax(-1)
    error = ((low[:, :, 1] - want[:, :, 1]).abs() / want[:, :, 1]).max()
    assert error > bound / 10  # the low-precision product would really be worse


def test_additive_masks():
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 6, 8), torch.randn(2, 2, 6, 8)
    rows = torch.tensor([[5, 2], [4, 4]])
    allowed = torch.ones(6, 6).tril().bool()[None, None].expand(2, 1, 6, 6)
    additive = torch.zeros(2, 1, 6, 6).masked_fill(~allowed, float("-inf"))
    got = attention_rows(q, k, additive, rows, [1], scaling=0.5)
    want = (q @ k.mT * 0.5).masked_fill(~allowed, float("-inf")).softmax(-1)[:, 1]
    torch.testing.assert_close(got[:, 0], torch.stack([want[0, [5, 2]], want[1, [4, 4]]]))
    torch.testing.assert_close(attention_rows(q, k, allowed, rows, [1], scaling=0.5), got)


def test_gradients_match_eager_and_survive_checkpointing(tokenizer):
    backbone = tiny_backbone("qwen3", tokenizer)
    ids = torch.arange(3, 40)[None]
    rows = torch.tensor([[36, 35]])
    segments = (torch.arange(37) // 10)[None]

    def gradient(model, checkpoint: bool):
        model.zero_grad()
        request = ReadRequest({0: [1], 2: [0, 3]}, rows, torch.full((1, 1, 2), 0.5), segments, 4)
        if checkpoint:
            # renamed in transformers 5.2x, which warns of the old name
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
            model.train()
        model(ids, headrank_request=request, use_cache=False)
        (request.gather()[0, 0] * torch.arange(4.0)).sum().backward()
        return model.layers[1].self_attn.q_proj.weight.grad.clone()

    plain = gradient(copy.deepcopy(backbone.model), checkpoint=False)
    assert plain.abs().max() > 0
    torch.testing.assert_close(gradient(copy.deepcopy(backbone.model), checkpoint=True), plain, atol=1e-6, rtol=1e-5)
    eager = AutoModel.from_config(copy.deepcopy(backbone.model.config), attn_implementation="eager").eval()
    eager.load_state_dict(backbone.model.state_dict())
    attentions = eager(ids, output_attentions=True).attentions
    loss = 0
    for layer, head in ((0, 1), (2, 0), (2, 3)):
        for n in range(4):
            loss = loss + n * attentions[layer][0, head][[36, 35]][:, segments[0] == n].sum(-1).mean()
    loss.backward()
    torch.testing.assert_close(eager.layers[1].self_attn.q_proj.weight.grad, plain, atol=1e-5, rtol=1e-4)


def test_gradients_through_the_shared_prefix(tokenizer):
    """Both tails carry gradient through one prefix; the same as reading each tail in a pass of its own."""
    backbone = tiny_backbone("qwen3", tokenizer)
    prompt = prompts_for(backbone)[0]
    weight = backbone.model.layers[0].self_attn.k_proj.weight

    def loss(scores):
        return (scores * torch.arange(scores.shape[1])).sum()

    both = read_head_scores(backbone, [prompt], [Head(2, 1), Head(1, 0)])[0]
    assert both.null is not None
    (together,) = torch.autograd.grad(loss(both.query) - loss(both.null), weight)
    apart = torch.zeros_like(weight)
    for tail, sign in ((0, 1), (1, -1)):
        single = type(prompt)(prompt.prefix, prompt.passages, (prompt.tails[tail],))
        scores = read_head_scores(backbone, [single], [Head(2, 1), Head(1, 0)])[0]
        apart += sign * torch.autograd.grad(loss(scores.query), weight)[0]
    assert apart.abs().max() > 0
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


def test_errors_name_what_is_wrong(backbone):
    prompt = prompts_for(backbone)[0]
    with pytest.raises(ValueError, match="3-0"):
        read_head_scores(backbone, [prompt], [Head(3, 0)])
    with pytest.raises(ValueError, match="no heads"):
        read_head_scores(backbone, [prompt], [])
    with pytest.raises(ValueError, match="twice"):
        read_head_scores(backbone, [prompt], [Head(0, 0), Head(0, 0)])
    request = ReadRequest({9: [0]}, torch.tensor([[0]]), torch.ones(1, 1, 1), torch.zeros(1, 3).long(), 1)
    with torch.no_grad():
        backbone.model(torch.tensor([[1, 2, 3]]), headrank_request=request)
    with pytest.raises(RuntimeError, match=r"layers \[9\]"):
        request.gather()
    long = PromptBuilder(backbone.tokenizer, PromptSettings(max_passage_tokens=None)).build(
        "q", ["x" * 5000], with_null=False
    )
    with pytest.raises(ValueError, match="max_passage_tokens"):
        read_head_scores(backbone, [long], [Head(0, 0)])


def test_several_kinds_of_rows_in_one_pass(backbone):
    heads = list(all_heads(3, 4))
    prompts = prompts_for(backbone)
    kinds = ["suffix", "query", "instruction"]
    with torch.no_grad():
        together = read_several_rows(backbone, prompts, heads, kinds=kinds, per_token=True)
        for kind in kinds:
            alone = read_head_scores(backbone, prompts, heads, query_rows=kind, per_token=True)
            for a, b in zip([one[kind] for one in together], alone, strict=True):
                torch.testing.assert_close(a.query, b.query, atol=1e-6, rtol=0)
                torch.testing.assert_close(a.tokens.null, b.tokens.null, atol=1e-6, rtol=0)
    difference = together[0]["suffix"].query - together[0]["query"].query
    assert difference.abs().max() > 1e-3, "the kinds really differ"
