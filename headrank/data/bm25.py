"""BM25 over a collection's passages, by bm25s: the first stage where no run file is at hand.

The index is built once, kept in a cache folder under a key made of the passages and the parameters, and mapped into
memory from there. The defaults repeat what published BEIR baselines were made with (Lucene's): k1 0.9, b 0.4, Lucene's
formula, its 33 English stop words, Porter's stemmer, words of one character kept, repeated query words counted.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from headrank.data.collections import Collection, fingerprint
from headrank.files import atomic_folder
from headrank.ranking import Passage, Query, Ranking

_log = logging.getLogger(__name__)

_WORD = r"(?u)\b\w+\b"  # bm25s drops words of one character by default; Lucene keeps them
_IDS = "passage_ids.json"
_FORMAT = "1"  # part of the key: raise it when words are split or files are laid out differently


class BM25Method(StrEnum):
    """The variant of the formula, named as in bm25s: those in which only a query's words give a passage a score."""

    LUCENE = "lucene"
    ROBERTSON = "robertson"
    ATIRE = "atire"


@dataclass(frozen=True, slots=True)
class BM25Parameters:
    """BM25's parameters and how words are made of a text. With these defaults, nDCG@10 over the top 100 is .3205 on
    beir/nfcorpus/test (published: .322) and .4037 on beir/arguana without identical ids (published: .397).

    k1: how fast repeated words stop counting. b: how much long passages are discounted, 0 to 1.
    stemmer: a PyStemmer algorithm (`porter`, `english`, another language) or None. stopwords: a bm25s list's name
    (`english` is Lucene's) or None.
    """

    k1: float = 0.9
    b: float = 0.4
    method: BM25Method = BM25Method.LUCENE
    stemmer: str | None = "porter"
    stopwords: str | None = "english"

    def __post_init__(self) -> None:
        if not 0 <= self.k1 < float("inf") or not 0 <= self.b <= 1:
            raise ValueError(f"BM25 with k1 {self.k1}, b {self.b}: wanted k1 >= 0 and 0 <= b <= 1")


def _bm25s() -> Any:
    """The library, imported late: it loads numba, most of a second, which reading a run file does not need."""
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.NOTSET)  # it sets DEBUG, past the level that the user chose
    return bm25s


def _words(texts: Iterable[str], parameters: BM25Parameters, *, ids: bool) -> Any:
    """bm25s' `Tokenized` of the texts (`ids`), or a list of words for each."""
    import Stemmer

    stemmer = None if parameters.stemmer is None else Stemmer.Stemmer(parameters.stemmer)
    return _bm25s().tokenize(
        texts,  # an iterable will do; it is read once
        stopwords=parameters.stopwords,
        stemmer=stemmer,
        token_pattern=_WORD,
        return_ids=ids,
        show_progress=False,
    )


class BM25Index:
    """Passages' BM25 scores by word. Make one with `bm25_index`."""

    def __init__(self, retriever: Any, passage_ids: list[str], parameters: BM25Parameters) -> None:
        self._retriever = retriever
        self._passage_ids = passage_ids
        self._parameters = parameters

    @classmethod
    def build(cls, passages: Iterable[Passage], parameters: BM25Parameters, *, total: int | None = None) -> "BM25Index":
        """Index passages (`total`: their number, for the progress bar). Raises `ValueError` where none has a word."""
        passage_ids: list[str] = []

        def texts() -> Iterator[str]:
            for passage in tqdm(passages, total=total, desc="BM25: words", unit="passage", disable=None):
                passage_ids.append(passage.id)
                yield passage.text

        words = _words(texts(), parameters, ids=True)
        if not words.vocab:
            raise ValueError(f"BM25 has nothing to index: no word in {len(passage_ids)} passages")
        retriever = _bm25s().BM25(k1=parameters.k1, b=parameters.b, method=parameters.method.value)
        retriever.index(words, create_empty_token=False, show_progress=False)
        return cls(retriever, passage_ids, parameters)

    def save(self, folder: Path) -> None:
        """Write the index's files into an existing folder."""
        self._retriever.save(folder, show_progress=False)
        (folder / _IDS).write_text(json.dumps(self._passage_ids), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, parameters: BM25Parameters) -> "BM25Index":
        """Open an index that `save` wrote, its arrays mapped into memory."""
        retriever = _bm25s().BM25.load(folder, mmap=True, show_progress=False)
        return cls(retriever, json.loads((folder / _IDS).read_text(encoding="utf-8")), parameters)

    def search(self, queries: Sequence[Query], depth: int) -> dict[str, Ranking]:
        """The `depth` best passages of each query: query id -> ranking, in the queries' order.

        Equal scores are in the order of the passages in the collection, also where `depth` cuts through them. Passages
        that share no word with the query are not found, so a ranking can be shorter than `depth`, or empty.
        """
        if depth < 1:
            raise ValueError(f"depth {depth}: wanted 1 or more")
        words = _words([query.text for query in queries], self._parameters, ids=False)
        run: dict[str, Ranking] = {}
        pairs = zip(queries, words, strict=True)
        for query, query_words in tqdm(pairs, total=len(queries), desc="BM25: search", unit="query", disable=None):
            word_ids = self._retriever.get_tokens_ids(query_words)
            if not word_ids:
                run[query.id] = Ranking(query.id, ())
                continue
            scores = self._retriever.get_scores_from_ids(word_ids)  # [passages], float32
            best = _best(scores, depth)
            run[query.id] = Ranking.from_scores(
                query.id, [self._passage_ids[i] for i in best], [float(scores[i]) for i in best]
            )
        return run


def _best(scores: np.ndarray, depth: int) -> np.ndarray:
    """Indices of the `depth` highest positive scores, ascending where equal (bm25s' own choice is arbitrary)."""
    found = np.flatnonzero(scores > 0)
    if len(found) > depth:
        values = scores[found]
        least = np.partition(values, len(values) - depth)[len(values) - depth]  # the depth-th highest score
        above = found[values > least]
        found = np.concatenate([above, found[values == least][: depth - len(above)]])
    return found[np.argsort(-scores[found], kind="stable")]


def bm25_index(collection: Collection, parameters: BM25Parameters, cache_dir: Path) -> BM25Index:
    """The index of a collection's passages: from `cache_dir/bm25/<key>` where it is, else built and put there.

    The key is a hash of the passages' fingerprint, the parameters and bm25s' version. Another process that builds the
    same index at the same time does no harm. Passages' words are held in memory while building: collections of some
    million passages at most.

    Raises `ValueError` where no passage has a word.
    """
    settings = json.dumps(asdict(parameters), sort_keys=True)
    key = fingerprint((_FORMAT, _bm25s().__version__, collection.passages_fingerprint, settings))
    folder = cache_dir / "bm25" / key
    if not folder.is_dir():
        _log.info("%s: building the BM25 index of %d passages", collection.name, collection.passage_count)
        index = BM25Index.build(collection.passages(), parameters, total=collection.passage_count)
        with atomic_folder(folder) as temporary:
            index.save(temporary)
    _log.info("%s: BM25 index %s", collection.name, folder)
    return BM25Index.load(folder, parameters)
