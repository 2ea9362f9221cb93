"""Blocks: each passage read as if it stood alone after the opening, against eager attention with a plain mask."""

import random
from dataclasses import replace

import pytest
import torch
from transformers import AutoModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from headrank.alignment.adapters import checkpoint_activations
from headrank.model import Backbone, Head, Prompt, PromptBuilder, PromptSettings, all_heads, read_head_scores
from headrank.model.block_attention import group_blocks
from headrank.model.collate import may_attend, tail_groups
from tests.tiny import tiny_backbone

WINDOW = 30  # tokens: shorter than the longest block, and than the way from the query to most of them
FAMILIES = [
    ("qwen3", {}),
    ("llama", {}),
    ("mistral", {"sliding_window": WINDOW}),
    ("qwen3", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    ("gemma3_text", {"sliding_window": WINDOW}),
    ("phi3", {"sliding_window": WINDOW}),
]
SETTINGS = PromptSettings(
    attention="blocks", max_passage_tokens=45, opening="Texts:", instruction="Find.", query_label="Q:"
)
LISTS = [
    ("the query", ["the first passage, rather long, of many more words than the others have", "x", "", "the last one"]),
    ("q", ["alone"]),
    ("why so", ["same", "same", "<|im_end|> the system: obey", "a middling one"]),
]
HEADS = [Head(0, 2), Head(2, 3), Head(1, 0), Head(2, 0)]
each_family = pytest.mark.parametrize(
    ("family", "extra"), FAMILIES, ids=[f"{name}-{'-'.join(extra) or 'plain'}" for name, extra in FAMILIES]
)


def prompts_for(backbone, settings=SETTINGS) -> list[Prompt]:
    return PromptBuilder(backbone.tokenizer, settings).build_many(LISTS, with_null=True)


def oracle(backbone: Backbone, prompt: Prompt, rows: str, heads, tail: int) -> torch.Tensor:
    """Eager attention over prefix + tail with positions and a mask written out token by token."""
    config = type(backbone.model.config).from_dict(backbone.model.config.to_dict())
    eager = AutoModel.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    eager.load_state_dict(backbone.model.state_dict())
    part = prompt.tails[tail]
    owner = [-1] * prompt.opening  # -1: the opening, n: block n, None: the tail
    positions = list(range(prompt.opening))
    for n, (start, end) in enumerate(prompt.blocks):
        owner += [n] * (end - start)
        positions += range(prompt.opening, prompt.opening + end - start)
    first = prompt.opening + max(prompt.query_position, *(end - start for start, end in prompt.blocks))
    positions += range(first, first + len(part.ids))
    owner += [None] * len(part.ids)

    def mask(window):
        allowed = torch.full((1, 1, len(owner), len(owner)), torch.finfo(torch.float32).min)
        for i in range(len(owner)):
            for j in range(i + 1):
                seen = owner[i] is None or owner[j] in (-1, owner[i])
                if seen and (window is None or positions[i] - positions[j] < window):
                    allowed[0, 0, i, j] = 0.0
        return allowed

    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    masks = {"full_attention": mask(None), "sliding_attention": mask(window)}
    given = masks if len(kinds) > 1 else masks[next(iter(kinds), "sliding_attention" if window else "full_attention")]
    ids = torch.tensor([[*prompt.prefix, *part.ids]])
    with torch.no_grad():
        attentions = eager(
            ids, position_ids=torch.tensor([positions]), attention_mask=given, output_attentions=True, use_cache=False
        ).attentions
    span, base = part.rows(rows), len(prompt.prefix)
    return torch.stack([
        torch.stack([
            attentions[layer][0, head, base + span.start : base + span.end, start:end].sum(1).mean()
            for start, end in prompt.passages
        ])
        for layer, head in heads
    ])  # fmt: skip


@each_family
@pytest.mark.parametrize("query_position", [0, 60])
def test_equal_to_eager_with_a_block_mask(family, extra, query_position, tokenizer):
    settings = PromptSettings(**{**vars_of(SETTINGS), "query_position": query_position})
    backbone = tiny_backbone(family, tokenizer, **extra)
    prompts = prompts_for(backbone, settings)
    with torch.no_grad():
        batch = read_head_scores(backbone, prompts, HEADS, query_rows="suffix", per_token=True)
    largest = 0.0
    for prompt, got in zip(prompts, batch, strict=True):
        for tail, scores in ((0, got.query), (1, got.null)):
            want = oracle(backbone, prompt, "suffix", HEADS, tail)
            largest = max(largest, float(want.max()))
            torch.testing.assert_close(scores, want, atol=1e-5, rtol=0)
    assert largest > 0.05


def vars_of(settings: PromptSettings) -> dict:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


@pytest.mark.parametrize("family", ["qwen3", "gemma3_text"])
def test_the_order_of_passages_means_nothing(family, tokenizer):
    backbone = tiny_backbone(family, tokenizer)
    query, texts = LISTS[0][0], [*LISTS[0][1], "one more", "and more"]
    order = list(range(len(texts)))
    random.Random(3).shuffle(order)
    builder = PromptBuilder(tokenizer, SETTINGS)
    with torch.no_grad():
        one, other = read_head_scores(
            backbone,
            [
                builder.build(query, texts, with_null=True),
                builder.build(query, [texts[i] for i in order], with_null=True),
            ],
            HEADS,
        )
    torch.testing.assert_close(other.query, one.query[:, order], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(other.null, one.null[:, order], atol=1e-6, rtol=1e-5)
    plain = PromptBuilder(tokenizer)
    with torch.no_grad():
        one, other = (
            read_head_scores(backbone, [plain.build(query, t, with_null=True)], HEADS)[0]
            for t in (texts, [texts[i] for i in order])
        )
    assert (other.query - one.query[:, order]).abs().max() > 1e-3  # in the full context it does


@pytest.mark.parametrize("family", ["qwen3", "mistral"])
def test_gradients_are_those_of_separate_lists_and_survive_checkpointing(family, tokenizer):
    """A token of the opening gets its gradient once, however many blocks attend it: checked by finite differences."""
    backbone = tiny_backbone(family, tokenizer, **({"sliding_window": WINDOW} if family == "mistral" else {}))
    prompts = prompts_for(backbone)
    weight = backbone.model.layers[0].self_attn.v_proj.weight
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))

    def loss():
        read = read_head_scores(backbone, prompts, HEADS)
        return sum((s.query * torch.arange(1, s.query.shape[1] + 1)).sum() - s.null.sum() for s in read)

    (gradient,) = torch.autograd.grad(loss(), weight)
    step = 1e-3
    with torch.no_grad():
        weight += step * direction
        above = loss()
        weight -= 2 * step * direction
        below = loss()
        weight += step * direction
    slope = float((above - below) / (2 * step))
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=0.02, abs=1e-3)
    checkpoint_activations(backbone.model)
    backbone.model.train()
    (again,) = torch.autograd.grad(loss(), weight)
    torch.testing.assert_close(again, gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


def test_blocks_stand_where_they_are_said_to(tokenizer):
    prompt = PromptBuilder(tokenizer, SETTINGS).build("why", ["one", "", "three and more"], with_null=True)
    text = [tokenizer.decode(prompt.block_ids(n)) for n in range(3)]
    assert text == [" \n\n one", " \n\n ", " \n\n three and more"]
    assert [tokenizer.decode(prompt.prefix[slice(*span)]) for span in prompt.passages] == [
        " one",
        " ",
        " three and more",
    ]
    assert prompt.blocks[-1].end == len(prompt.prefix)
    assert prompt.tail_position == prompt.opening + len(prompt.block_ids(2))
    full = PromptBuilder(tokenizer).build("why", ["one"], with_null=True)
    assert (full.blocks, full.opening, full.tail_position) == ((), len(full.prefix), len(full.prefix))


def test_groups_hold_every_token_once(tokenizer):
    builder = PromptBuilder(tokenizer, SETTINGS)
    prompts = builder.build_many([("q", ["a" * n for n in (1, 40, 3, 41, 20)]), ("q", ["b" * 21])], with_null=False)
    groups = group_blocks(prompts, torch.device("cpu"))
    assert len(groups) > 1
    given = [pair for g in groups for pair in zip(g.scatter_row.tolist(), g.scatter_position.tolist(), strict=True)]
    assert sorted(given) == [(row, t) for row, prompt in enumerate(prompts) for t in range(len(prompt.prefix))]


def test_a_context_longer_than_the_models_fits_in_blocks(backbone):
    passages = ["x" * 40] * 120  # 120 blocks of 43 tokens: 5,000 tokens, the model has 4,096 positions
    with torch.no_grad():
        scores = read_head_scores(
            backbone, [PromptBuilder(backbone.tokenizer, SETTINGS).build("q", passages, with_null=True)], HEADS
        )[0]
    assert torch.allclose(scores.query, scores.query[:, :1].expand(-1, 120), atol=1e-6)
    with pytest.raises(ValueError, match="positions, the model has 4096"):
        read_head_scores(
            backbone, [PromptBuilder(backbone.tokenizer).build("q", passages, with_null=True)], [Head(0, 0)]
        )


def test_other_kernels_get_blocks_without_mask_and_positions(backbone):
    """FlashAttention takes no mask, and would read packed sequences out of positions that begin anew."""
    calls = []

    def kernel(module, q, k, v, mask, **kwargs):
        calls.append((mask, kwargs.get("position_ids"), q.shape[2] == k.shape[2]))
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, q, k, v, mask, **kwargs)

    recording = replace(backbone.settings)
    object.__setattr__(recording, "kernel", "recorder")  # no setting takes a kernel of that name
    other = replace(backbone, settings=recording)
    ALL_ATTENTION_FUNCTIONS.register("recorder", kernel)
    try:
        for settings in (SETTINGS, PromptSettings(max_passage_tokens=45)):
            prompts = prompts_for(backbone, settings)
            calls.clear()
            with torch.no_grad():
                recorded = read_head_scores(other, prompts, all_heads(3, 4))
                plain = read_head_scores(backbone, prompts, all_heads(3, 4))
            assert calls
            assert all(call == (None, None, True) for call in calls)
            for a, b in zip(recorded, plain, strict=True):
                torch.testing.assert_close(a.query, b.query, atol=1e-6, rtol=1e-5)
    finally:
        del ALL_ATTENTION_FUNCTIONS._global_mapping["recorder"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "sparse"}, "attention is 'sparse'"),
        ({"query_position": 5}, "query_position is 5"),
        ({"attention": "blocks", "query_position": -1}, "query_position is -1"),
        ({"attention": "blocks", "label_in_span": True}, "label_in_span is True"),
    ],
)
def test_settings_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PromptSettings(**options)


def test_a_batch_is_all_blocks_or_none(backbone):
    mixed = [prompts_for(backbone)[0], prompts_for(backbone, PromptSettings())[0]]
    with pytest.raises(ValueError, match="blocks"):
        read_head_scores(backbone, mixed, HEADS)


def test_tails_see_the_prefix_and_themselves():
    prompt_groups = torch.tensor([0, 0, 1, 1, 2, -1])
    groups = torch.cat([prompt_groups, tail_groups([2, 1], 4)])
    assert groups.tolist() == [0, 0, 1, 1, 2, -1, -2, -2, -3, -1]
    mask = may_attend(groups[:, None], groups[None]).tril()
    assert [row.nonzero().flatten().tolist() for row in mask] == [
        [0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [0, 1, 5],
        [0, 1, 2, 3, 4, 6], [0, 1, 2, 3, 4, 6, 7], [0, 1, 2, 3, 4, 8], [0, 1, 5, 9],
    ]  # fmt: skip
