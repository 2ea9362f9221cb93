"""Words, sentences and spans of texts, by position."""

import random

import pytest

from headrank.data.bm25.index import BM25Parameters
from headrank.data.settings import GeneratedQueries
from headrank.data.spans import choose_span, content_words, without_spans, without_words, word_spans

ENGLISH, CHINESE, HINDI = (BM25Parameters(language=name) for name in ("english", "chinese", "hindi"))
THAI = BM25Parameters(language="cjk", tokenizer="(?=([\u0e00-\u0e7f]{3}))")


@pytest.mark.parametrize(
    ("parameters", "text", "expected"),
    [
        (ENGLISH, "Don't stop, now.", ["Don", "t", "stop", "now"]),
        (HINDI, "हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        (CHINESE, "明月光 iPhone15、月", ["明", "月", "光", "iPhone15", "月"]),
        (THAI, "ภาษา", ["ภาษ", "าษา"]),
        (BM25Parameters(tokenizer="[a-z]+"), "Ab3c", ["Ab", "c"]),
    ],
)
def test_words_are_those_of_the_tokenizer_and_single_characters(parameters, text, expected):
    assert [text[slice(*span)] for span in word_spans(text, parameters)] == expected


def test_words_that_bm25_compares():
    assert content_words("The Moon and THE tides", ENGLISH) == {"moon", "tides"}
    assert content_words("明月光 iPhone15、月", CHINESE) == {"明月", "月光", "iphone15", "月"}


@pytest.mark.parametrize(
    ("text", "parts", "expected"),
    [
        ("one two three", ["two"], "one three"),
        ("one two three", ["one"], "two three"),
        ("one two three", ["two", "three"], "one"),
        ("one (two) three", ["two"], "one () three"),
        ("床前明月光", ["明月"], "床前光"),
        ("same", ["same"], ""),
        ("same", [], "same"),
    ],
)
def test_deleted_spans_leave_no_double_space(text, parts, expected):
    assert without_spans(text, [(text.index(p), text.index(p) + len(p)) for p in parts]) == expected


def test_words_are_deleted_in_any_case_but_not_within_others():
    assert without_words("The moon, MOON and moonlight.", {"moon"}, ENGLISH) == "The , and moonlight."
    assert without_words("明月光。光明", {"明月", "月光"}, CHINESE) == "。光明"


def chosen(text, parameters=ENGLISH, *, seeds=40, **settings):
    settings = GeneratedQueries(**{"min_passage_words": 40} | settings)
    spans = [choose_span(text, settings, parameters, random.Random(seed)) for seed in range(seeds)]
    return {None if one is None else text[slice(*one)] for one in spans}


def test_a_span_is_consecutive_words_that_are_not_all_stop_words():
    text = "(moon) of the and tides"
    assert chosen(text, min_words=2, max_words=2) == {"moon) of", "and tides"}
    assert chosen(text, min_words=1, max_words=2) == {"moon", "tides", "moon) of", "and tides"}
    assert chosen("of the and", min_words=1, max_words=2) == {None}
    assert chosen("明月光", CHINESE, min_words=2, max_words=2) == {"明月", "月光"}


def test_a_sentence_has_its_punctuation_and_the_number_of_words():
    text = 'Too short. "Is the moon far?" It is 3.5 light\nA new line of words. And it is not. 明月光。疑是霜'
    found = chosen(text, unit="sentence", min_words=4, max_words=5)
    assert found == {'"Is the moon far?"', "It is 3.5 light", "A new line of words."}, "not one of stop words"
    assert chosen(text, CHINESE, unit="sentence", min_words=3, max_words=3) == {"明月光。", "疑是霜"}
    assert chosen(text, unit="sentence", min_words=9, max_words=9) == {None}
