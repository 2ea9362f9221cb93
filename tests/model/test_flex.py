"""FlexAttention: the readings of SDPA, from one call a layer, whatever the lengths; and what it leaves out."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention

from headrank.model import PromptBuilder, PromptSettings, ScorerSettings, flex, read_head_scores
from headrank.model.attention import headrank_attention
from headrank.model.blocks.states import StateShape, compute_states
from headrank.model.blocks.visibility import may_see, prefix_owners, tail_owners
from headrank.model.flex import SQUARE, squares
from headrank.model.loading.compiled import can_compile
from headrank.model.scorer import Scorer
from headrank.ranking import CandidateList, Passage, Query
from tests.model.blocks.test_attention import HEADS, LISTS, SETTINGS, each_family
from tests.tiny import tiny_backbone

FULL = PromptSettings(max_passage_tokens=45)
LONG = [("a query", ["some words of it " * 4] * 20), ("the other query", ["others, and more of them " * 3] * 9)]
needs_compiler = pytest.mark.skipif(
    not can_compile(torch.device("cpu")), reason="FlexAttention needs a C++ compiler on a processor"
)
of_pytorch = pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
not_compiled = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def with_flex(backbone):
    return replace(backbone, settings=replace(backbone.settings, kernel="flex_attention"))


@pytest.fixture
def plainly(monkeypatch):
    """The kernel without its compilation; each call's tokens."""
    calls = []

    def kernel(q, k, v, **kwargs):
        calls.append((q.shape[2], k.shape[2]))
        return flex_attention(q, k, v, **kwargs)

    monkeypatch.setattr(flex, "_compiled", lambda: kernel)
    monkeypatch.setattr(flex, "DEVICES", ("cpu",))
    return calls


def same(one, other):
    for a, b in zip(one, other, strict=True):
        assert a.query.max() > 1e-3
        torch.testing.assert_close(b.query, a.query, atol=2e-6, rtol=1e-4)
        torch.testing.assert_close(b.null, a.null, atol=2e-6, rtol=1e-4)


@each_family
@pytest.mark.parametrize("settings", [SETTINGS, FULL], ids=["blocks", "full"])
@pytest.mark.parametrize("lists", [LISTS, LONG], ids=["short", "long"])
@not_compiled
def test_readings_are_those_of_sdpa(family, extra, settings, lists, tokenizer, plainly):
    backbone = tiny_backbone(family, tokenizer, **extra)
    prompts = PromptBuilder(tokenizer, settings).build_many(lists, with_null=True)
    with torch.inference_mode():
        wanted = read_head_scores(backbone, prompts, HEADS, query_rows="suffix")
        assert plainly == []
        got = read_head_scores(with_flex(backbone), prompts, HEADS, query_rows="suffix")
    same(wanted, got)
    assert len(plainly) == 2  # the layers before the deepest, prefix and tails in one
    assert all(queries == keys for queries, keys in plainly)


@not_compiled
def test_states_of_passages_are_those_of_sdpa(tokenizer, plainly):
    backbone = tiny_backbone("qwen3", tokenizer)
    prompt = PromptBuilder(tokenizer, SETTINGS).build(*LONG[0], with_null=False)
    shape = StateShape.of(backbone, HEADS)
    blocks = [prompt.block_ids(n) for n in range(len(prompt.blocks))]
    wanted, got = (
        compute_states(b, shape, prompt.prefix[: prompt.opening], blocks) for b in (backbone, with_flex(backbone))
    )
    assert len(plainly) == 2
    for a, b in zip(wanted, got, strict=True):
        torch.testing.assert_close(b.rows, a.rows, atol=1e-5, rtol=1e-4)


@not_compiled
def test_a_window_needs_no_mask_of_all_tokens(tokenizer, plainly, monkeypatch):
    backbone = tiny_backbone("mistral", tokenizer, sliding_window=30)
    (prompt, _) = PromptBuilder(tokenizer, FULL).build_many(LONG, with_null=True)
    rows = []
    forward = backbone.model.forward
    monkeypatch.setattr(
        backbone.model, "forward", lambda **inputs: rows.append(inputs["attention_mask"].shape[2]) or forward(**inputs)
    )
    with torch.no_grad():
        read_head_scores(with_flex(backbone), [prompt], HEADS)
        read_head_scores(backbone, [prompt], HEADS)
    assert rows == [prompt.size[1], len(prompt)]


def test_a_cap_on_logits_is_refused(plainly):
    states = torch.zeros(1, 2, 5, 12)
    masks = flex.FlexMasks(torch.zeros(1, 5, dtype=torch.long), torch.arange(5)[None])
    module = torch.nn.Module()
    module.layer_idx = 0
    with pytest.raises(ValueError, match="does not cap"):
        headrank_attention(module, states, states, states, None, headrank_flex=masks, softcap=30.0)
    assert plainly == []


@not_compiled
def test_mixed_precision(tokenizer, plainly):
    """Under autocast normed queries and keys are wider than values; SDPA narrows them by itself."""
    backbone = tiny_backbone("qwen3", tokenizer)
    prompts = PromptBuilder(tokenizer, SETTINGS).build_many(LISTS, with_null=True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        wanted, got = (read_head_scores(b, prompts, HEADS) for b in (backbone, with_flex(backbone)))
    assert len(plainly) == 2
    for a, b in zip(wanted, got, strict=True):
        torch.testing.assert_close(b.query, a.query, atol=0.02, rtol=0.05)


def test_a_processor_computes_by_sdpa(tokenizer, monkeypatch):
    backbone = tiny_backbone("qwen3", tokenizer)
    prompts = PromptBuilder(tokenizer, SETTINGS).build_many(LISTS, with_null=True)
    monkeypatch.setattr(flex, "_compiled", lambda: pytest.fail("FlexAttention was called"))
    with torch.no_grad():
        same(*(read_head_scores(b, prompts, HEADS) for b in (backbone, with_flex(backbone))))


@needs_compiler
@of_pytorch
def test_compiled_once_for_lists_of_any_length(tokenizer, monkeypatch):
    monkeypatch.setattr(flex, "DEVICES", ("cpu",))
    backbone = tiny_backbone("qwen3", tokenizer)
    lists = [CandidateList(Query(q, q), tuple(Passage(f"{n}", t) for n, t in enumerate(ts))) for q, ts in LISTS + LONG]
    torch._dynamo.utils.counters.clear()
    for settings in (SETTINGS, FULL):
        wanted, got = (
            Scorer(b, HEADS, prompt=settings, settings=ScorerSettings(batch_size=1)).score(lists)
            for b in (backbone, with_flex(backbone))
        )
        for a, b in zip(wanted, got, strict=True):
            wanted_scores, scores = (dict(zip(r.passage_ids, r.scores, strict=True)) for r in (a.ranking, b.ranking))
            assert max(map(abs, wanted_scores.values())) > 1e-3
            assert scores == pytest.approx(wanted_scores, abs=1e-5, rel=1e-4)
    assert 0 < torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3


@pytest.mark.parametrize("blocks", [0, 60])
def test_squares_hold_all_that_is_seen_and_leave_most_of_the_rest(blocks, tokenizer):
    settings = SETTINGS if blocks else FULL
    texts = ["forty or so tokens of a text"] * 60
    prompts = PromptBuilder(tokenizer, settings).build_many([("q", texts), ("another", texts[:50])], with_null=True)
    P = max(len(p.prefix) for p in prompts)
    Q = max(sum(len(t.ids) for t in p.tails) for p in prompts)
    owners = torch.stack([
        torch.cat([prefix_owners(p, P), tail_owners([len(t.ids) for t in p.tails], Q)]) for p in prompts
    ])  # fmt: skip
    T = P + Q
    seen = may_see(owners[:, :, None], owners[:, None]).tril()
    n = -(-T // SQUARE)
    whole = torch.nn.functional.pad(seen, (0, n * SQUARE - T, 0, n * SQUARE - T))
    wanted = whole.view(2, n, SQUARE, n, SQUARE).any(-1).any(2)
    found, every = squares(owners)
    assert not (wanted & ~found).any()
    assert found.sum() <= wanted.sum() * 1.2
    inner = SQUARE * (n - 1)  # without the last stretch, which is not a whole one
    inside = seen[:, :inner, :inner].reshape(2, n - 1, SQUARE, n - 1, SQUARE).transpose(2, 3)
    assert inside[every[:, :-1, :-1]].all()
    assert every.sum() == 0 if blocks else every.sum() > 0.6 * found.sum()  # of a full prefix it is most
    if blocks:  # the diagonal, its neighbours, the first column and the last rows
        assert found[0].sum() < 6 * n < n * (n + 1) // 2


def test_tails_see_the_prefix_and_themselves():
    prompt_owners = torch.tensor([0, 0, 1, 1, 2, -1])
    owners = torch.cat([prompt_owners, tail_owners([2, 1], 4)])
    assert owners.tolist() == [0, 0, 1, 1, 2, -1, -2, -2, -3, -1]
    seen = may_see(owners[:, None], owners[None]).tril()
    assert [row.nonzero().flatten().tolist() for row in seen] == [
        [0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [0, 1, 5],
        [0, 1, 2, 3, 4, 6], [0, 1, 2, 3, 4, 6, 7], [0, 1, 2, 3, 4, 8], [0, 1, 5, 9],
    ]  # fmt: skip
