"""Define how BM25 splits texts into words in each language: case, word boundaries, stop words, stemmer.

- English: lower case, runs of letters and digits, Lucene's stop words, Porter's stemmer (the published BEIR baselines).
- The other languages of PyStemmer: Unicode's NFKC form and case folding; runs of letters, digits and combining marks;
  the stop words of bm25s (NLTK's lists), if it has a list; Snowball's stemmer.
- Chinese, Japanese, Korean: overlapping pairs of characters, as Lucene's CJKBigramFilter makes them. Words of other
  scripts stay whole. No stop words, no stemmer. `cjk` and `multilingual` name the same analysis.

Thai, Lao, Khmer and Burmese are written without spaces and have no rule here: a run of letters is one word, so a query
finds passages with the whole run. As `tokenizer`, a pattern with a look-ahead gives overlapping pieces instead:
`(?=([\\u0e00-\\u0e7f]{3}))` for Thai.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import Stemmer

AUTO = "auto"  # the value that belongs to the language

STEMMERS = tuple(Stemmer.algorithms())
CJK = ("chinese", "japanese", "korean", "cjk", "multilingual")
LANGUAGES = (*(name for name in STEMMERS if name not in ("porter", "dutch_porter")), *CJK)
STOP_WORDS = (
    *("chinese", "danish", "dutch", "english", "english_plus", "french", "german", "italian", "korean", "norwegian"),
    *("portuguese", "russian", "spanish", "swedish", "turkish"),
)
"""The stop word lists of bm25s. The Chinese and Korean lists hold words, which pairs of characters rarely equal."""


class Fold(StrEnum):
    """The ways to normalise the letters of a text before it is split into words."""

    LOWER = "lower"  # lower case
    NFKC = "nfkc"  # NFKC and case folding; soft hyphens and variation selectors are removed
    TURKISH = "turkish"  # the same with the Turkish pairs I/ı and İ/i


class Tokenizer(StrEnum):
    """The named ways to split a text. Any other value is a regular expression."""

    WORDS = "words"  # runs of letters and digits (`\\w+`)
    MARKED_WORDS = "marked_words"  # also with combining marks, which `\\w` excludes: the vowels of Hindi and Thai
    BIGRAMS = "bigrams"  # pairs of CJK characters; marked words of other scripts


@dataclass(frozen=True, slots=True)
class Analysis:
    """How texts are split into words. Equal objects split alike, so indexes can be shared by them.

    fold: how letters are normalised, see `folded`.
    tokenizer: as in `splitter`.
    stop_words: the name of a bm25s list, or the words; None: no stop words.
    stemmer: a PyStemmer algorithm; None: no stemming.
    """

    fold: Fold
    tokenizer: str
    stop_words: str | tuple[str, ...] | None
    stemmer: str | None

    @classmethod
    def of(cls, language: str) -> "Analysis":
        """Return the default text analysis of a language, one of `LANGUAGES`."""
        if language == "english":
            return cls(Fold.LOWER, Tokenizer.WORDS, "english", "porter")
        if language in CJK:
            return cls(Fold.NFKC, Tokenizer.BIGRAMS, None, None)
        fold = Fold.TURKISH if language == "turkish" else Fold.NFKC
        return cls(fold, Tokenizer.MARKED_WORDS, language if language in STOP_WORDS else None, language)


# Soft hyphen, word joiner and byte order mark are invisible; a variation selector chooses a character's glyph.
_INVISIBLE = re.compile("[\u00ad\u2060\ufeff\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def folded(text: str, fold: Fold) -> str:
    """Normalise the letters of a text (see `Fold`). `NFKC` also converts full-width letters and half-width katakana."""
    if fold == Fold.LOWER:
        return text.lower()
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    if fold == Fold.TURKISH:
        text = text.replace("İ", "i").replace("I", "ı")
    return unicodedata.normalize("NFKC", text.casefold())  # case folding can decompose


_IDEOGRAPHS = (
    "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han, with 々 and 〇
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana, without the middle dot
    "\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\uac00-\ud7a3\ud7b0-\ud7fb"  # hangul
)


@cache
def splitter(tokenizer: str) -> Callable[[str], list[str]]:
    """Return a function that splits a text, already normalised by `folded`, into words.

    Args:
        tokenizer: a value of `Tokenizer` (`words`, `marked_words`, `bigrams`), or else a regular expression. Words are
            its matches or, if it has a group, the group's texts.

    Raises:
        ValueError: if the expression is malformed or has several groups.
    """
    if tokenizer == Tokenizer.BIGRAMS:
        return _bigrams(word_pattern(tokenizer))
    if tokenizer in list(Tokenizer):
        return word_pattern(tokenizer).findall
    try:
        pattern = re.compile(tokenizer)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if pattern.groups > 1:
        raise ValueError(f"{pattern.groups} groups")
    # lone surrogates cannot be written to an index; an empty match is no word
    return lambda text: [word for word in pattern.findall(text.encode("utf-8", "replace").decode()) if word]


@cache
def word_pattern(tokenizer: str) -> re.Pattern[str]:
    """Return the pattern that finds the words of a text by position, also in a text that is not normalised.

    Args:
        tokenizer: as in `splitter`. With `bigrams`, group 1 is a run of Chinese, Japanese and Korean characters, group
            2 a word of another script. An expression matches in any case.
    """
    if tokenizer == Tokenizer.WORDS:
        return re.compile(r"\w+")
    if tokenizer == Tokenizer.MARKED_WORDS:
        return re.compile(rf"\w[\w{_marks()}]*")
    if tokenizer == Tokenizer.BIGRAMS:
        letter = rf"[^\W{_IDEOGRAPHS}]"
        return re.compile(rf"([{_IDEOGRAPHS}]+)|({letter}(?:{letter}|[{_marks()}])*)")
    return re.compile(tokenizer, re.IGNORECASE)


def _bigrams(pattern: re.Pattern[str]) -> Callable[[str], list[str]]:
    def split(text: str) -> list[str]:
        found: list[str] = []
        for run, word in pattern.findall(text):
            if len(run) > 1:
                found += map(str.__add__, run[:-1], run[1:])
            else:
                found.append(run or word)
        return found

    return split


def _marks() -> str:
    """All combining marks, inside a character class. All but the variation selectors are below U+20000."""
    return "".join(char for char in map(chr, range(0x300, 0x20000)) if unicodedata.category(char)[0] == "M")
