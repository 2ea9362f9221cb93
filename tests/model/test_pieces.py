"""Long lists in windows and long passages in chunks."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrank.errors import ModelError
from headrank.model import Head, PromptBuilder, PromptSettings, Scorer, ScorerSettings
from headrank.model.pieces import PieceMaker
from headrank.model.plain_text import split_text
from headrank.ranking import CandidateList, Passage, Query
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
    if len(tokenizer.encode(text, add_special_tokens=False).ids) < limit:
        assert pieces == [text]
    if text.isascii():  # one token per character
        assert max(len(tokenizer.encode(f" {piece}", add_special_tokens=False).ids) for piece in pieces) <= limit
