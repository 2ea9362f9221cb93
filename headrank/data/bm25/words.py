"""BM25's parameters, and how words are made of a text: the same for passages and queries, by bm25s."""

import logging
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Strict

from headrank.settings import Ge, Le, settings

_WORD = r"(?u)\b\w+\b"  # bm25s drops words of one character by default; Lucene keeps them


class BM25Method(StrEnum):
    """The variant of the formula, named as in bm25s: those in which only a query's words give a passage a score."""

    LUCENE = "lucene"
    ROBERTSON = "robertson"
    ATIRE = "atire"


@settings
class BM25Parameters:
    """BM25's parameters and how words are made of a text. With these defaults, nDCG@10 over the top 100 is .3205 on
    beir/nfcorpus/test (published: .322) and .4037 on beir/arguana without identical ids (published: .397).

    k1: how fast repeated words stop counting. b: how much long passages are discounted, 0 to 1.
    stemmer: a PyStemmer algorithm (`porter`, `english`, another language) or None. stopwords: a bm25s list's name
    (`english` is Lucene's) or None.
    """

    k1: Annotated[float, Ge(0)] = 0.9
    b: Annotated[float, Ge(0), Le(1)] = 0.4
    method: Annotated[BM25Method, Strict(False)] = BM25Method.LUCENE
    stemmer: str | None = "porter"
    stopwords: str | None = "english"


def bm25s() -> Any:
    """The library, imported late: it loads numba, most of a second, which reading a run file does not need.

    Where JAX is installed, bm25s' import would run it, and JAX takes three quarters of a GPU as soon as it runs. What
    of bm25s is used here needs none, so that it finds no JAX, unless the user has imported it.
    """
    hidden = [name for name in ("jax", "jax.lax") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # pyright: ignore[reportArgumentType, reportCallIssue]
    try:
        import bm25s
    finally:
        for name in hidden:
            del sys.modules[name]
    logging.getLogger("bm25s").setLevel(logging.NOTSET)  # it sets DEBUG, past the level that the user chose
    return bm25s


def words(texts: Iterable[str], parameters: BM25Parameters, *, ids: bool) -> Any:
    """bm25s' `Tokenized` of the texts (`ids`), or a list of words for each."""
    import Stemmer

    stemmer = None if parameters.stemmer is None else Stemmer.Stemmer(parameters.stemmer)
    return bm25s().tokenize(
        texts,  # an iterable will do; it is read once
        stopwords=parameters.stopwords,
        stemmer=stemmer,
        token_pattern=_WORD,
        return_ids=ids,
        show_progress=False,
    )
