"""Floating-point operations: what PyTorch's own counter counts, and values by hand."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from headrank.model import (
    Head,
    ModelShape,
    Prompt,
    PromptBuilder,
    PromptSettings,
    Scorer,
    ScorerSettings,
    Span,
    StateSettings,
    Tail,
    backbone_shape,
    fully_computed_layers,
    read_head_scores,
    reading_flops,
)
from headrank.model.blocks.states import StateShape, compute_states
from headrank.ranking import CandidateList, Passage, Query
from tests.tiny import tiny_backbone

PASSAGES = [f"passage {n} of a few words, rather like the others" for n in range(12)]
HEADS = [Head(0, 1), Head(1, 3), Head(2, 0), Head(2, 1), Head(3, 2)]


def counted(read) -> int:
    """By PyTorch's counter, of attention in its plain form: products that masks throw away are computed and counted."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        read()
    return counter.get_total_flops()


@pytest.mark.parametrize("family", ["qwen3", "llama", "phi3"])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("heads", [HEADS, HEADS[:1], HEADS[2:3]])
def test_a_reading_takes_what_pytorch_counts(family, whole, heads, tokenizer):
    backbone = tiny_backbone(family, tokenizer, layers=4)
    backbone = replace(backbone, settings=replace(backbone.settings, whole_deepest=whole))
    shape, prompt = backbone_shape(backbone), PromptBuilder(tokenizer).build("a query", PASSAGES, with_null=True)
    flops = reading_flops(shape, prompt, heads, depth=fully_computed_layers(backbone))
    prefix, tails = prompt.size
    layers = max(head.layer for head in heads) if not whole else 4
    plain = 4 * shape.heads * shape.head_size * layers * (prefix**2 + tails * (prefix + tails))
    expected = flops.layers + flops.deepest + flops.readout + plain
    assert counted(lambda: read_head_scores(backbone, [prompt], heads)) == pytest.approx(expected, rel=0.02)
    assert 0.45 * plain <= flops.attention <= plain


def test_passages_that_are_stored_are_not_computed(tokenizer):
    backbone = tiny_backbone("qwen3", tokenizer, layers=4)
    shape = backbone_shape(backbone)
    builder = PromptBuilder(tokenizer, PromptSettings(attention="blocks"))
    prompt = builder.build("a query", PASSAGES, with_null=True)
    kept = compute_states(
        backbone, StateShape.of(backbone, HEADS), builder.opening, [prompt.block_ids(n) for n in range(len(PASSAGES))]
    )
    flops = reading_flops(shape, prompt, HEADS, stored=True)
    prefix, tails = prompt.size
    plain = 4 * shape.heads * shape.head_size * 3 * tails * (prefix + tails)
    expected = flops.layers + flops.deepest + flops.readout + plain
    assert counted(lambda: read_head_scores(backbone, [prompt], HEADS, states=[kept])) == pytest.approx(
        expected, rel=0.02
    )
    assert flops.layers == reading_flops(shape, prompt, HEADS).layers * tails / (prefix + tails)
    assert flops.attention < reading_flops(shape, prompt, HEADS).attention


def test_by_hand():
    shape = ModelShape((100, 100, 100), 7, hidden=8, intermediate=1, heads=4, kv_heads=2, head_size=3,
                       max_tokens=None, number_bytes=4)  # fmt: skip
    tail = Tail((1, 2, 3), Span(0, 1), Span(1, 3), Span(3, 3))
    prompt = Prompt(tuple(range(10)), (Span(2, 5), Span(6, 10)), (tail,))
    flops = reading_flops(shape, prompt, [Head(1, 0), Head(1, 1), Head(0, 3)])
    assert flops.layers == 2 * 100 * 13
    assert flops.attention == 4 * 4 * 3 * (10 * 11 // 2 + 3 * 10 + 3 * 4 // 2)
    assert flops.deepest == 2 * 8 * 3 * (13 * 1 + 2 * 2)  # one kv head's keys, two heads' two rows
    assert flops.readout == 3 * (2 * 2 * 13 * 3 + 2 * 13 * (2 + 2))
    assert flops.total == flops.layers + flops.attention + flops.deepest + flops.readout
    whole = reading_flops(shape, prompt, [Head(1, 0)], depth=3)
    assert (whole.layers, whole.deepest) == (2 * 300 * 13, 0)
    blocks = replace(prompt, blocks=(Span(2, 6), Span(6, 10)))
    in_blocks = reading_flops(shape, blocks, [Head(1, 0)]).attention
    assert in_blocks == 4 * 4 * 3 * (2 * (6 * 7 // 2) + 3 * 10 + 3 * 4 // 2)


def test_a_scored_list_says_what_it_took(tokenizer, tmp_path):
    lists = [CandidateList(Query("q", "a query"), tuple(Passage(str(n), text) for n, text in enumerate(PASSAGES)))]
    backbone = tiny_backbone("qwen3", tokenizer)
    heads = [Head(0, 0), Head(2, 1)]
    (once,) = Scorer(backbone, heads).score(lists[:1])
    (both,) = Scorer(backbone, heads, settings=ScorerSettings(order="both")).score(lists[:1])
    prompt = PromptBuilder(tokenizer).build(
        lists[0].query.text, [passage.text for passage in lists[0].passages], with_null=True
    )
    assert once.flops == reading_flops(backbone_shape(backbone), prompt, heads).total > 0
    assert both.flops == 2 * once.flops
    blocks = PromptSettings(attention="blocks")
    (block,) = Scorer(backbone, heads, prompt=blocks).score(lists[:1])
    (stored,) = Scorer(backbone, heads, prompt=blocks, states=StateSettings(str(tmp_path))).score(lists[:1])
    assert stored.flops < block.flops
