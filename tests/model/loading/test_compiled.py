"""Compiled MLPs and norms: the same readings, whatever the number of tokens, under the same names."""

import pytest
import torch

from headrank.model import Head, PromptBuilder, PromptSettings, read_head_scores
from headrank.model.loading.compiled import can_compile, compile_parts
from tests.tiny import tiny_backbone

HEADS = [Head(0, 2), Head(2, 3), Head(1, 1)]
LISTS = [
    [("the query", ["the first passage, rather long", "x", "", "the last one"])],
    [("another", ["one of them " * 9, "two"]), ("a third query", ["only this"])],
    [("a query", ["alone"])],
]

pytestmark = [
    # PyTorch uses what it has deprecated itself.
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning"),
    pytest.mark.skipif(
        not can_compile(torch.device("cpu")), reason="torch.compile needs a C++ compiler on a processor"
    ),
]


@pytest.mark.parametrize(("family", "parts"), [("qwen3", 5), ("llama", 3)])
def test_readings_are_those_of_the_plain_model(family, parts, tokenizer):
    plain, compiled = (tiny_backbone(family, tokenizer) for _ in range(2))
    names = list(compiled.model.state_dict())
    assert compile_parts(compiled.model) == parts * compiled.depth
    assert list(compiled.model.state_dict()) == names
    builder = PromptBuilder(tokenizer, PromptSettings(max_passage_tokens=20))
    torch._dynamo.utils.counters.clear()
    for lists in LISTS:
        prompts = builder.build_many(lists, with_null=True)
        with torch.inference_mode():
            expected, got = (read_head_scores(b, prompts, HEADS) for b in (plain, compiled))
        for a, b in zip(expected, got, strict=True):
            assert a.query.max() > 1e-3
            torch.testing.assert_close(b.query, a.query, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(b.null, a.null, atol=1e-6, rtol=1e-5)
    # A graph for each kind of module, one list and several, one head and several; not for each layer or length.
    assert 0 < torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 10
