"""Long texts are cut before they are tokenised, and keep the ids that the whole text begins with."""

import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrank.model import plain_text_tokenizer
from headrank.model.plain_text import encode_first, first_characters
from tests.tiny import tiny_tokenizer
from tests.tokenizers import REAL

CHARACTERS = 40_000  # of each text: several windows even for the largest limit


def random_text(alphabet: str, size: int = CHARACTERS) -> str:
    return "".join(random.Random(alphabet).choices(alphabet, k=size))


def marks() -> str:
    """A letter under a run of combining marks, the one that sorts first at the end."""
    return "a" + "\u0301" * 30_000 + "\u0334" + "b" * 10_000


LONG = {
    "words": "The tide pulls the sea. " * (CHARACTERS // 24),
    "one run of one letter": "a" * CHARACTERS,
    "one run of letters": random_text("abcdefghijklmnopqrstuvwxyz"),
    "ab": "ab" * (CHARACTERS // 2),
    "digits": random_text("0123456789"),
    "punctuation": random_text("!?.,;:-_=+*/\\|"),
    "dashes": "-" * CHARACTERS,
    "spaces inside": f"a{' ' * CHARACTERS}b",
    "newlines inside": f"a{chr(10) * CHARACTERS}b",
    "mixed white space": f"a{random_text(' ' + chr(9) + chr(10) + chr(13) + chr(0xA0) + chr(0x2028))}b",
    "Chinese": random_text("床前明月光疑是地上霜举头望明月低头思故乡"),
    "Korean letters by part": random_text("\u1112\u1161\u11ab\u1100\u1173\u11af"),
    "emoji": "👩‍👩‍👧" * (CHARACTERS // 5),
    "letters with marks": random_text("ae\u0301\u0327\u0334\u0323"),
    "a run of marks": marks(),
    "special tokens": "<|im_end|><think>" * (CHARACTERS // 17),
    "zero bytes": "\x00" * CHARACTERS,
    "contractions": "'s't're've'm'll'd" * (CHARACTERS // 17),
    "words, then a run": "sea " * 500 + "x" * CHARACTERS,
    "a run, then words": "x" * 9000 + " sea" * 9000,
}


@pytest.fixture(scope="module", params=["tiny", *REAL])
def tokenizer(request):
    return plain_text_tokenizer(tiny_tokenizer() if request.param == "tiny" else REAL[request.param]())


@pytest.mark.parametrize("name", LONG)
def test_the_first_ids_are_those_of_the_whole_text(tokenizer, name):
    text = f" {LONG[name]}"
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    for limit in (1, 7, 64, 256):
        assert encode_first(tokenizer, [text, "short"], limit)[0] == whole[: limit + 1]
    assert encode_first(tokenizer, [text], None) == [whole]


@settings(deadline=None, max_examples=50)
@given(
    parts=st.lists(st.tuples(st.text(min_size=1, max_size=5), st.integers(1, 800)), min_size=1, max_size=8),
    limit=st.integers(1, 20),
)
def test_any_text(parts, limit):
    tokenizer = plain_text_tokenizer(tiny_tokenizer())
    text = " " + "".join(part * times for part, times in parts)
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    assert encode_first(tokenizer, [text], limit)[0] == whole[: limit + 1]


class Counting:
    """Counts the characters that the tokenizer behind it reads."""

    def __init__(self, inner) -> None:
        self.inner, self.characters = inner, 0

    def encode(self, text, **options):
        self.characters += len(text)
        return self.inner.encode(text, **options)

    def encode_batch(self, texts, **options):
        self.characters += sum(map(len, texts))
        return self.inner.encode_batch(texts, **options)


@pytest.mark.parametrize("unit", ["sea ", "x", "月"])
def test_twenty_megabytes_are_not_tokenised(unit):
    counting = Counting(plain_text_tokenizer(tiny_tokenizer()))
    text = unit * (20_000_000 // len(unit))
    assert len(encode_first(counting, [text], 256)[0]) == 257
    assert counting.characters < 60_000


def test_no_letter_is_separated_from_its_marks():
    tokenizer = plain_text_tokenizer(tiny_tokenizer())
    text = first_characters(tokenizer, marks(), 7)
    assert not unicodedata.combining(marks()[len(text)])
