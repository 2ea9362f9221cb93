"""Define BM25's parameters, and split passages and queries into words."""

import logging
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from itertools import count
from typing import Annotated, Any

import numpy as np
from pydantic import Strict

from headrank.data.bm25.languages import (
    AUTO,
    LANGUAGES,
    STEMMERS,
    STOP_WORDS,
    Analysis,
    folded,
    splitter,
)
from headrank.errors import ConfigError
from headrank.settings import Ge, Le, Listed, meant, one_of, settings, wrong


class BM25Method(StrEnum):
    """The variant of the formula, named as in bm25s. Only variants in which absent words contribute 0 are supported."""

    LUCENE = "lucene"
    ROBERTSON = "robertson"
    ATIRE = "atire"


@settings
class BM25Parameters:
    """The parameters of BM25 and its analysis of texts (`languages.py`).

    With these defaults, nDCG@10 over the top 100 is .3205 on beir/nfcorpus/test (published: .322) and .4037 on
    beir/arguana without identical ids (published: .397).

    `language` determines stemmer, stop words and tokenizer; the fields of these names override it. `auto` keeps the
    language's value, None switches stemming or stop words off.

    language: a language of PyStemmer, `chinese`, `japanese`, `korean`, `cjk` or `multilingual`.
    k1: the saturation of repeated words; higher values let repetitions count more.
    b: the length normalisation, 0 (none) to 1 (full).
    method: the variant of the formula.
    stemmer: `auto`, a PyStemmer algorithm, or None.
    stop_words: `auto`, the name of a bm25s list (`english` is Lucene's), a list of words, or None.
    tokenizer: `auto`, `words`, `marked_words`, `bigrams`, or a regular expression that matches a word.
    """

    language: Annotated[str, one_of(LANGUAGES)] = "english"
    k1: Annotated[float, Ge(0)] = 0.9
    b: Annotated[float, Ge(0), Le(1)] = 0.4
    method: Annotated[BM25Method, Strict(False)] = BM25Method.LUCENE
    stemmer: Annotated[str, one_of((AUTO, *STEMMERS))] | None = AUTO
    stop_words: str | Listed[str] | None = AUTO
    tokenizer: str = AUTO

    def __post_init__(self) -> None:
        known = (AUTO, *STOP_WORDS)
        if isinstance(self.stop_words, str) and self.stop_words not in known:
            expected = f"one of {', '.join(known)}, a list of words, or null{meant(self.stop_words, known)}"
            raise wrong("stop_words", self.stop_words, expected)
        try:
            splitter(self.analysis.tokenizer)
        except ValueError as error:
            expected = f"auto, words, marked_words, bigrams, or a regular expression with at most one group ({error})"
            raise wrong("tokenizer", self.tokenizer, expected) from None

    @property
    def analysis(self) -> Analysis:
        """The analysis of `language`, overridden by `stemmer`, `stop_words` and `tokenizer` unless they are `auto`."""
        given = {"stemmer": self.stemmer, "stop_words": self.stop_words, "tokenizer": self.tokenizer}
        return replace(Analysis.of(self.language), **{name: value for name, value in given.items() if value != AUTO})


def bm25s() -> Any:
    """Import and return the bm25s library. The import is late because bm25s loads numba (most of a second).

    If JAX is installed, importing bm25s would start it, and JAX reserves three quarters of the GPU memory. The parts
    used here need no JAX, so it is hidden during the import, unless the user has already imported it.
    """
    hidden = [name for name in ("jax", "jax.lax") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # pyright: ignore[reportArgumentType, reportCallIssue]
    try:
        import bm25s
    finally:
        for name in hidden:
            del sys.modules[name]
    logging.getLogger("bm25s").setLevel(logging.NOTSET)  # bm25s sets DEBUG, which overrides the user's level
    return bm25s


@dataclass(frozen=True, slots=True)
class Words:
    """The words of several texts, without stop words and stemmed.

    ids: [words], int64, the words of all texts in order, as indices into `vocabulary`.
    lengths: [texts], int32, the number of words of each text.
    vocabulary: the distinct words, sorted by code point, which equals sorting by UTF-8 bytes.
    """

    ids: np.ndarray
    lengths: np.ndarray
    vocabulary: list[str]

    def by_text(self) -> list[list[str]]:
        """Return the words of each text as strings, one list per text."""
        ids = iter(self.ids.tolist())
        return [[self.vocabulary[next(ids)] for _ in range(length)] for length in self.lengths.tolist()]


def words(texts: Iterable[str], parameters: BM25Parameters) -> Words:
    """Split texts into words, without stop words and stemmed.

    Raises `ConfigError` if the installed bm25s lacks the configured list of stop words.
    """
    import Stemmer

    analysis = parameters.analysis
    fold, split, stopped = analysis.fold, splitter(analysis.tokenizer), stop_words(analysis)
    numbers: defaultdict[str, int] = defaultdict(count().__next__)  # the unstemmed words, numbered as they appear
    flat, lengths = array("q"), array("i")
    for text in texts:
        row = [numbers[word] for word in split(folded(text, fold)) if word not in stopped]
        flat.extend(row)
        lengths.append(len(row))
    found = list(numbers)
    stems = found if analysis.stemmer is None else Stemmer.Stemmer(analysis.stemmer).stemWords(found)
    vocabulary = sorted(set(stems))
    index = {word: i for i, word in enumerate(vocabulary)}
    stem_of = np.fromiter((index[stem] for stem in stems), np.int64, len(stems))
    return Words(stem_of[np.array(flat, np.int64)], np.array(lengths, np.int32), vocabulary)


@cache
def stop_words(analysis: Analysis) -> frozenset[str]:
    """Return the stop words of an analysis, normalised as texts are.

    Raises `ConfigError` if the installed bm25s lacks the list.
    """
    given = analysis.stop_words
    if isinstance(given, str):
        name = {"english": "EN", "english_plus": "EN_PLUS"}.get(given, given.upper())
        library = bm25s()
        given = getattr(library.stopwords, f"STOPWORDS_{name}", None)
        if given is None:
            raise ConfigError(
                f"stop_words is {analysis.stop_words}, which bm25s {library.__version__} does not have; install a "
                "later version, or set stop_words to null or a list of words"
            )
    return frozenset(folded(word, analysis.fold) for word in given or ())
