"""BM25's parameters, and the tokenization of passages and queries into words by bm25s."""

import logging
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Strict

from headrank.settings import Ge, Le, settings

_WORD = r"(?u)\b\w+\b"  # bm25s drops words of one character by default; Lucene keeps them


class BM25Method(StrEnum):
    """The variant of the formula, named as in bm25s. Only variants in which absent words contribute 0 are supported."""

    LUCENE = "lucene"
    ROBERTSON = "robertson"
    ATIRE = "atire"


@settings
class BM25Parameters:
    """The parameters of BM25 and its tokenization.

    With these defaults, nDCG@10 over the top 100 is .3205 on beir/nfcorpus/test (published: .322) and .4037 on
    beir/arguana without identical ids (published: .397).

    k1: the saturation of repeated words; higher values let repetitions count more.
    b: the length normalisation, 0 (none) to 1 (full).
    method: the variant of the formula.
    stemmer: a PyStemmer algorithm (`porter`, `english`, another language) or None.
    stopwords: the name of a bm25s stop word list (`english` is Lucene's) or None.
    """

    k1: Annotated[float, Ge(0)] = 0.9
    b: Annotated[float, Ge(0), Le(1)] = 0.4
    method: Annotated[BM25Method, Strict(False)] = BM25Method.LUCENE
    stemmer: str | None = "porter"
    stopwords: str | None = "english"


def bm25s() -> Any:
    """The bm25s library, imported late because it loads numba (most of a second).

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


def words(texts: Iterable[str], parameters: BM25Parameters, *, ids: bool) -> Any:
    """Tokenize texts into words: the `Tokenized` of bm25s if `ids`, otherwise a list of words per text."""
    import Stemmer

    stemmer = None if parameters.stemmer is None else Stemmer.Stemmer(parameters.stemmer)
    return bm25s().tokenize(
        texts,  # read once, so any iterable works
        stopwords=parameters.stopwords,
        stemmer=stemmer,
        token_pattern=_WORD,
        return_ids=ids,
        show_progress=False,
    )
