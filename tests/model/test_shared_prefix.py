"""Several queries over one candidate list: one pass over its passages, with the scores of separate ones."""

import pytest
import torch

from headrank.model import Head, PromptBuilder, PromptSettings, ScorerSettings, StateSettings, read_head_scores
from headrank.model import reader as list_reader_module
from headrank.model.batching import MOST_QUERIES, BatchSettings, share_prefixes
from headrank.model.forward import read_several_rows
from headrank.model.scorer import Scorer
from headrank.ranking import CandidateList, Passage, Query
from tests.model.test_block_attention import SETTINGS, each_family
from tests.tiny import tiny_backbone

HEADS = [Head(0, 2), Head(2, 3), Head(1, 0), Head(2, 0)]
TEXTS = ["the first passage, rather long, of many more words than the others have", "x", "", "the last one"]
QUERIES = ["the query", "another query, which is longer than that", "q"]
FULL = PromptSettings(max_passage_tokens=45)


def candidates(query: str, texts: list[str]) -> CandidateList:
    return CandidateList(Query(query, query), tuple(Passage(f"d{n}", text) for n, text in enumerate(texts)))


@each_family
@pytest.mark.parametrize("settings", [SETTINGS, FULL], ids=["blocks", "full"])
@pytest.mark.parametrize("with_null", [True, False])
def test_scores_are_those_of_separate_passes(family, extra, settings, with_null, tokenizer):
    backbone = tiny_backbone(family, tokenizer, **extra)
    builder = PromptBuilder(tokenizer, settings)
    prompts = builder.build_many([*((q, TEXTS) for q in QUERIES), ("alone", TEXTS[:2])], with_null=with_null)
    shared = share_prefixes(prompts)
    assert [members for _, members in shared] == [(0, 1, 2), (3,)]
    with torch.no_grad():
        expected = [
            {
                kind: read_head_scores(backbone, [p], HEADS, query_rows=kind, per_token=True)[0]
                for kind in ("query", "suffix")
            }
            for p in prompts
        ]
        # The two prompts differ in their tails' number: one pass all the same.
        got = read_several_rows(backbone, [p for p, _ in shared], HEADS, kinds=["suffix", "query"], per_token=True)
    assert len(got) == 4
    for a, b in zip(expected, got, strict=True):
        assert a["suffix"].query.max() > 0.01
        for kind in a:
            torch.testing.assert_close(b[kind].query, a[kind].query, atol=1e-6, rtol=1e-4)
            torch.testing.assert_close(b[kind].tokens.query, a[kind].tokens.query, atol=1e-6, rtol=1e-4)
            if with_null:
                torch.testing.assert_close(b[kind].null, a[kind].null, atol=1e-6, rtol=1e-4)
                torch.testing.assert_close(b[kind].tokens.null, a[kind].tokens.null, atol=1e-6, rtol=1e-4)
            else:
                assert b[kind].null is None is b[kind].tokens.null


def test_what_is_joined(tokenizer):
    builder = PromptBuilder(tokenizer)
    same = builder.build_many([(q, TEXTS) for q in ("a", "b")], with_null=True)
    reversed_ = builder.build("a", TEXTS[::-1], with_null=True)
    without_null = builder.build("a", TEXTS, with_null=False)
    others = PromptBuilder(tokenizer, PromptSettings(label_in_span=True)).build("a", TEXTS, with_null=True)
    shared = share_prefixes([same[0], reversed_, without_null, same[1], others, same[0]])
    assert [members for _, members in shared] == [(0, 3, 5), (1,), (2,), (4,)]
    joined = shared[0].prompt
    assert (joined.queries, joined.prefix) == (3, same[0].prefix)
    assert joined.tails == (same[0].tails[0], same[1].tails[0], same[0].tails[0], same[0].tails[1])
    assert shared[1].prompt is reversed_
    assert "⟦query⟧ b⟦/query⟧" in builder.show(joined)
    many = share_prefixes(builder.build_many([(f"q{n}", TEXTS) for n in range(2 * MOST_QUERIES + 1)], with_null=True))
    assert [prompt.queries for prompt, _ in many] == [MOST_QUERIES, MOST_QUERIES, 1]


def test_a_joined_prompt_keeps_to_the_limits_of_a_pass(tokenizer):
    prompts = PromptBuilder(tokenizer).build_many([(f"query {n}", TEXTS) for n in range(5)], with_null=True)
    tail = len(prompts[0].tails[0].ids)
    limit = len(prompts[0]) + 2 * tail
    assert [p.queries for p, _ in share_prefixes(prompts, BatchSettings(8, limit))] == [3, 2]
    assert all(len(p) <= limit for p, _ in share_prefixes(prompts, BatchSettings(8, limit)))
    assert [p.queries for p, _ in share_prefixes(prompts, BatchSettings(8, limit - 1))] == [2, 2, 1]
    assert [p.queries for p, _ in share_prefixes(prompts, BatchSettings(2, limit))] == [2, 2, 1]
    # One list a pass means it: processes that fetch sharded layers together count on it.
    assert [p.queries for p, _ in share_prefixes(prompts, BatchSettings(1))] == [1] * 5
    assert [p.queries for p, _ in share_prefixes(prompts, BatchSettings(8, 1))] == [1] * 5


def test_where_memory_is_out_queries_go_apart(tokenizer, monkeypatch):
    backbone = tiny_backbone("qwen3", tokenizer)
    lists = [candidates(f"query {n}", TEXTS) for n in range(5)]
    scorer = Scorer(backbone, HEADS)
    expected = scorer.score(lists)
    texts = [(item.query.text, TEXTS) for item in lists]
    ((joined, _),) = share_prefixes(PromptBuilder(tokenizer).build_many(texts, with_null=True))
    fits = len(joined) - 1
    passes = []

    def reading(backbone, prompts, *args, **options):
        passes.append(sum(prompt.queries for prompt in prompts))
        if sum(map(len, prompts)) > fits:
            raise torch.OutOfMemoryError("out of memory")
        return read_head_scores(backbone, prompts, *args, **options)

    monkeypatch.setattr(list_reader_module, "read_head_scores", reading)
    got = scorer.score(lists)
    assert passes == [5, 2, 3]
    for a, b in zip(expected, got, strict=True):
        assert b.ranking.scores == pytest.approx(a.ranking.scores, abs=1e-5)
    fits = 10
    with pytest.raises(torch.OutOfMemoryError):
        scorer.score(lists)


@pytest.mark.parametrize(
    ("settings", "kept"), [(FULL, False), (SETTINGS, False), (SETTINGS, True)], ids=["full", "blocks", "kept"]
)
def test_lists_over_the_same_passages_are_one_prompt(settings, kept, tokenizer, tmp_path, monkeypatch):
    backbone = tiny_backbone("qwen3", tokenizer)
    states = StateSettings(str(tmp_path)) if kept else None
    lists = [candidates("the query", TEXTS), candidates("other", TEXTS[:3]), candidates("another", TEXTS)]
    lists.insert(1, CandidateList(Query("none", "none"), ()))
    scorer = Scorer(backbone, HEADS, prompt=settings, states=states)
    alone = [scorer.score([item])[0] for item in lists]
    passes = []

    def reading(backbone, prompts, *args, **options):
        passes.append([prompt.queries for prompt in prompts])
        return read_head_scores(backbone, prompts, *args, **options)

    monkeypatch.setattr(list_reader_module, "read_head_scores", reading)
    together = scorer.score(lists)
    assert sorted(queries for batch in passes for queries in batch) == [1, 2]
    assert [scored.ranking.query_id for scored in together] == ["the query", "none", "other", "another"]
    for a, b in zip(alone, together, strict=True):
        assert b.ranking.passage_ids == a.ranking.passage_ids
        assert b.ranking.scores == pytest.approx(a.ranking.scores, abs=1e-5)
    assert together[0].tokens == together[3].tokens < alone[0].tokens
    assert together[2].tokens == alone[2].tokens
    if not kept:  # what is shared is the passages, far the most of it
        assert together[0].flops + together[3].flops < 0.8 * (alone[0].flops + alone[3].flops)


def test_orders_that_differ_are_not_shared(tokenizer, monkeypatch):
    backbone = tiny_backbone("qwen3", tokenizer)
    lists = [candidates(query, TEXTS) for query in QUERIES]
    read = []
    monkeypatch.setattr(
        list_reader_module,
        "read_head_scores",
        lambda backbone, prompts, *args, **options: (
            read.extend(prompt.queries for prompt in prompts) or read_head_scores(backbone, prompts, *args, **options)
        ),
    )
    Scorer(backbone, HEADS, settings=ScorerSettings(order="both")).score(lists)
    assert read == [3, 3]  # one prompt for each order
    read.clear()
    Scorer(backbone, HEADS, settings=ScorerSettings(order="shuffled")).score(lists)
    assert sum(read) == 3
    assert max(read) < 3  # every query its own permutation
