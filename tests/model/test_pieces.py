"""Long lists in windows and long passages in chunks."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrank.errors import ModelError
from headrank.model import Head, PromptBuilder, PromptSettings, Scorer, ScorerSettings
from headrank.model.pieces import PieceMaker
from headrank.model.plain_text import split_text
from headrank.model.scorer import ScoredList, best_passages, read_again
from headrank.ranking import CandidateList, ContextScores, Passage, Query, Ranking
from tests.tiny import tiny_backbone, tiny_tokenizer

HEADS = (Head(2, 3), Head(0, 1))
PROMPT = PromptSettings(max_passage_tokens=12)


def listed(texts, query="which one"):
    return CandidateList(Query("q9", query), tuple(Passage(f"p{i}", text) for i, text in enumerate(texts)))


def scored(backbone, item, prompt=PROMPT, **options):
    return Scorer(backbone, HEADS, prompt=prompt, settings=ScorerSettings(**options)).score([item])[0]


def by_id(result):
    return {one.id: one.score for one in result.ranking.results}


EIGHT = listed(["sea tides", "sky", "why rain", "old stone", "leaf", "the sun", "a wave", "7 winds"])


@pytest.mark.parametrize("order", ["first_stage", "reversed", "shuffled"])
def test_windows_are_lists_alone_and_the_best_are_read_again(backbone, order):
    """Windows of 3 of 8 passages: every third passage of the context order."""
    whole, result = scored(backbone, EIGHT, order=order), scored(backbone, EIGHT, order=order, window=3)
    assert result.windows == 3
    assert result.context.passage_ids == whole.context.passage_ids

    def alone(numbers, of_order="first_stage"):
        part = replace(EIGHT, passages=tuple(EIGHT.passages[i] for i in numbers))
        return by_id(scored(backbone, part, order=of_order))

    context = [EIGHT.passage_ids.index(passage) for passage in whole.context.passage_ids]
    first = {passage: z for start in range(3) for passage, z in alone(context[start::3]).items()}
    ranked = sorted(first, key=lambda passage: -first[passage])
    again = alone(sorted(map(EIGHT.passage_ids.index, ranked[:3])), order)
    assert list(result.ranking.passage_ids) == [*sorted(again, key=lambda passage: -again[passage]), *ranked[3:]]
    found = by_id(result)
    assert {passage: found[passage] for passage in again} == pytest.approx(again, abs=1e-5)
    shift = first[ranked[3]] - found[ranked[3]]
    assert [found[p] for p in ranked[3:]] == pytest.approx([first[p] - shift for p in ranked[3:]], abs=1e-5)
    assert list(result.ranking.scores) == sorted(found.values(), reverse=True)
    assert result.context.scores == tuple(found[passage] for passage in result.context.passage_ids)
    assert result.tokens > whole.tokens


def test_windows_with_both_orders(backbone):
    result = scored(backbone, EIGHT, order="both", window=4)
    assert result.windows == 2
    assert sorted(by_id(result)) == sorted(EIGHT.passage_ids)


def test_without_need_nothing_is_cut(backbone):
    assert scored(backbone, EIGHT).windows == scored(backbone, EIGHT, window=8).windows == 1
    whole = scored(backbone, EIGHT, PromptSettings())
    assert by_id(whole) == by_id(scored(backbone, EIGHT, PromptSettings(), window=8, long_passages="max"))


@pytest.fixture(scope="module")
def short_context():
    made = tiny_backbone("qwen3", tiny_tokenizer())
    made.config.max_position_embeddings = 400
    return made


def test_a_list_beyond_the_context_is_read_in_windows_that_fit(short_context):
    item = listed([f"the passage with the number {i}" for i in range(200)])
    result = scored(short_context, item)
    assert result.windows > 5
    assert sorted(by_id(result)) == sorted(item.passage_ids)
    builder = PromptBuilder(short_context.tokenizer, PROMPT)
    maker = PieceMaker(builder, with_null=True, context=400, window=None, chunk=False)
    pieces = maker.pieces(item, "first_stage", 0).passes[0]
    assert len(pieces) == result.windows
    assert sorted(i for piece in pieces for i in piece.owners) == list(range(200))
    prompts = [builder.build("which one", [p.text for p in x.item.passages], with_null=True) for x in pieces]
    assert max(prompt.positions for prompt in prompts) <= 400


def test_a_passage_beyond_the_context_is_an_error(short_context):
    with pytest.raises(ModelError, match=r"q9.*400"):
        scored(short_context, listed(["word " * 500, "other"]), prompt=PromptSettings(max_passage_tokens=None))


LONG = listed(["short one", "first part of it , then the second part of it , and the last part of all", "x"])


def test_the_best_chunk_of_a_passage_counts(backbone):
    texts = split_text(PromptBuilder(backbone.tokenizer).text_tokenizer, LONG.passages[1].text, 12)
    assert len(texts) > 1
    chunks = listed(["short one", *texts, "x"])
    alone = by_id(scored(backbone, chunks))
    result = scored(backbone, LONG, long_passages="max")
    best = max(alone[f"p{1 + i}"] for i in range(len(texts)))
    expected = {"p0": alone["p0"], "p1": best, "p2": alone[f"p{1 + len(texts)}"]}
    assert by_id(result) == pytest.approx(expected, abs=1e-5)
    assert result.context.passage_ids == LONG.passage_ids
    assert result.cut == ()
    assert scored(backbone, LONG).cut == ("p1",)


TEXTS = st.text(max_size=200) | st.lists(st.sampled_from(["word", "another", "x"]), max_size=80).map(" ".join)


@settings(deadline=None, max_examples=80)
@given(text=TEXTS, limit=st.integers(2, 20))
def test_the_pieces_of_a_text_are_the_text(text, limit):
    tokenizer = PromptBuilder(tiny_tokenizer()).text_tokenizer
    pieces = split_text(tokenizer, text, limit)
    assert "".join(pieces) == text
    for piece in pieces:
        tokens = len(tokenizer.encode(f" {piece.strip()}", add_special_tokens=False).ids)
        assert tokens <= limit or len(piece) == 1


def test_a_text_that_utf_8_cannot_encode_is_split():
    tokenizer = PromptBuilder(tiny_tokenizer()).text_tokenizer
    assert len(split_text(tokenizer, "\ud800 " + "word " * 50, 20)) > 1


def test_one_passage_in_several_windows(backbone):
    """Its chunks do not fit into one window; there is nothing to read again."""
    item = listed(["a long text of several parts " * 3])
    result = scored(backbone, item, long_passages="max", window=2)
    assert result.windows > 1
    assert result.ranking.passage_ids == ("p0",)


@given(data=st.data())
def test_passages_read_again_come_first(data):
    numbers = st.floats(-1e3, 1e3, width=32)
    z, again = (data.draw(st.lists(numbers, min_size=6, max_size=6)) for _ in range(2))
    item = listed(["x"] * 6)

    def made(ids, scores):
        return ScoredList(Ranking.from_scores("q9", ids, scores), ContextScores("q9", tuple(ids), tuple(scores)), 1, 1)

    first = replace(made(item.passage_ids, z), windows=2)
    best = best_passages(item, first)
    result = read_again(item, first, made(best.passage_ids, again[: len(best)]))
    assert set(result.ranking.passage_ids[:3]) == set(best.passage_ids)
    rest = [passage for passage in first.ranking.passage_ids if passage not in best.passage_ids]
    shifted = {one.id: one.score for one in result.ranking.results}
    assert all(shifted[a] >= shifted[b] for a, b in pairwise(rest)), "their order stays"
