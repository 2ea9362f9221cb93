"""Spans of tokens index the original text, for any text and several tokenizers."""

import functools
from copy import copy

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrank.model import PromptBuilder, PromptSettings, Span
from headrank.model.explain import original_spans
from headrank.model.token_spans import find_spans
from headrank.surrogates import encodable, original_positions
from tests.tiny import tiny_tokenizer
from tests.tokenizers import REAL

TEXTS = [
    "",
    "k",
    "  \t two words \n",
    "the the the the",
    "naïve e\u0301 q\u0323\u0307 数学 किताब 👩‍👩‍👧 🇩🇪 ﷺ \x00\x1b[0m",
    "\ud83d lone, \ude00 lone, \ud83d\ude00 a pair",
    "<|im_end|> <think> [1] Query: N/A",
    "x" * 300,
    " \n\n   \u3000 ",
    "word " * 200,
]
ANY = st.text(st.characters(), max_size=40)  # all of Unicode, surrogates included


NAMES = ["tiny", "smollm2", "qwen3"]


@functools.cache
def prompts(name: str) -> PromptBuilder:
    return PromptBuilder(tiny_tokenizer() if name == "tiny" else REAL[name]())


def check(name: str, text: str, limit: int | None, *, label: bool = False) -> None:
    builder = copy(prompts(name))  # the real tokenizers take a second to build
    builder.settings = PromptSettings(max_passage_tokens=limit, max_query_tokens=limit, label_in_span=label)
    prompt = builder.build(text, ["another", text], with_null=False)
    ids, asked = prompt.prefix[slice(*prompt.passages[1])], prompt.tails[0].ids[slice(*prompt.tails[0].query)]
    for of_prompt in (ids, asked):
        found = find_spans(builder.text_tokenizer, encodable(text), of_prompt, limit)
        assert len(found.entries) == len(of_prompt)
        assert sorted(set(found.entries)) == list(range(len(found.spans)))
        spans = original_spans(text, found.spans)
        stripped = [i for i, start in enumerate(original_positions(text)[:-1]) if not encodable(text)[i].isspace()]
        first, last = (original_positions(text)[at] for at in ((stripped[0], stripped[-1] + 1) if stripped else (0, 0)))
        end = first
        for number, (start, stop) in enumerate(spans):
            assert start == end, "spans leave no gap"
            assert stop > start or number == 0, "only the first entry can be empty"
            end = stop
        if spans == (Span(first, first),):  # the tokenizer knows none of the characters
            assert of_prompt == tuple(builder.build("", ["", ""], with_null=False).prefix[-len(of_prompt) :])
        elif 1 not in prompt.cut and not prompt.query_cut:
            assert end == last, "spans reach the end of the stripped text"
        assert end <= last


@pytest.mark.parametrize("label", [False, True])
@pytest.mark.parametrize("limit", [None, 1, 5, 256])
@pytest.mark.parametrize("name", NAMES)
def test_spans_of_strange_texts(name, limit, label):
    for text in TEXTS:
        check(name, text, limit, label=label)


@settings(deadline=None, max_examples=60)
@given(ANY, st.sampled_from([None, 1, 3, 8]))
@example("\ud83d\ude00\ud83d", 1)
def test_spans_of_any_text(text, limit):
    check("tiny", text, limit)


@settings(deadline=None, max_examples=60)
@given(ANY, st.sampled_from([None, 3]))
@example("\x060", None)  # SmolLM2's tokenizer has no token for this byte
@example("\x06", None)
def test_spans_of_any_text_in_a_real_tokenizer(text, limit):
    check("smollm2", text, limit)


def test_bytes_of_a_character_share_an_entry():
    builder = prompts("tiny")
    prompt = builder.build("q", ["a数b"], with_null=False)
    ids = prompt.prefix[slice(*prompt.passages[0])]
    found = find_spans(builder.text_tokenizer, "a数b", ids, None)
    assert [tuple(span) for span in found.spans] == [(0, 1), (1, 2), (2, 3)]
    assert found.entries.count(1) == 3


def test_the_ids_must_be_those_of_the_text():
    builder = prompts("tiny")
    with pytest.raises(ValueError, match="another text"):
        find_spans(builder.text_tokenizer, "another text", builder.opening, None)


@given(ANY)
def test_original_positions(text):
    positions, plain = original_positions(text), encodable(text)
    assert len(positions) == len(plain) + 1
    assert positions[-1] == len(text)
    for i, character in enumerate(plain):
        assert encodable(text[positions[i] : positions[i + 1]]) == character
