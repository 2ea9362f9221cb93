"""Search a collection's passages with BM25 (bm25s), the first stage if no run file is given.

The index is built once (`build.py`), cached under a key of passages and parameters, and memory-mapped, so neither
building nor searching loads a collection into memory. Search results are cached too, so a resumed run does not search
again. The defaults are those of the published BEIR baselines (Lucene): k1 0.9, b 0.4, Lucene's formula, its 33 English
stop words, Porter's stemmer, single-character words kept, repeated query words counted. For other
languages see `languages.py`.
"""

import json
import logging
import shutil
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from headrank.data.bm25.build import merge_parts, part_folders, passages_done, write_parts
from headrank.data.bm25.string_table import Texts
from headrank.data.bm25.words import BM25Method, BM25Parameters, bm25s, words
from headrank.data.collections import Collection, fingerprint
from headrank.io.cache import cache_lock
from headrank.io.checksums import checked_write, damaged_file, is_whole, write_folder_sums
from headrank.io.files import atomic_folder, disk_errors, remove_leftovers
from headrank.logs import Progress
from headrank.ranking import Passage, Query, Ranking

__all__ = ["BM25Index", "BM25Method", "BM25Parameters", "bm25_best", "bm25_index", "bm25_run", "index_folder"]

_log = logging.getLogger(__name__)

_FORMAT = "3"  # part of the key: raise it when words are split or files are laid out differently


class BM25Index:
    """A memory-mapped BM25 index: for each word the passages that contain it, with scores.

    Args:
        folder: a folder that `build` or `bm25_index` wrote.
        parameters: the parameters with which the index was built.
    """

    def __init__(self, folder: Path, parameters: BM25Parameters) -> None:
        self.folder = folder
        self._parameters = parameters
        self._words, self._passage_ids = Texts(folder, "words"), Texts(folder, "passage_ids")
        self._retriever = bm25s().BM25(k1=parameters.k1, b=parameters.b, method=parameters.method.value)
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("data", "indices", "indptr")}
        self._retriever.scores = {**arrays, "num_docs": len(self._passage_ids)}
        self._retriever.nonoccurrence_array = None  # in the supported variants absent words contribute 0

    def __len__(self) -> int:
        """Return the number of passages in the index."""
        return len(self._passage_ids)

    @classmethod
    def build(cls, passages: Iterable[Passage], parameters: BM25Parameters, folder: Path) -> "BM25Index":
        """Build an index of passages in a new folder and open it.

        Raises `ValueError` if no passage has a word, `FormatError` if two passages share an id.
        """
        with TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as work:
            write_parts(passages, parameters, Path(work))
            with atomic_folder(folder) as temporary:
                merge_parts(Path(work), parameters, temporary)
                write_folder_sums(temporary)
        return cls(folder, parameters)

    def search(self, queries: Sequence[Query], depth: int) -> dict[str, Ranking]:
        """Find the `depth` best passages of each query.

        Equal scores are in collection order, also at the cutoff. Passages that share no word with the query are not
        found, so a ranking can be shorter than `depth`, or empty.

        Returns:
            Query id -> ranking, in the queries' order.

        Raises:
            ValueError: if `depth` is below 1.
        """
        return self.rankings(queries, self.best(queries, depth))

    def best(self, queries: Sequence[Query], depth: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Search like `search`, but return arrays.

        Returns:
            Per query, the collection indices of its best passages (int32) and their scores (float32), best first.

        Raises:
            ValueError: if `depth` is below 1.
        """
        if depth < 1:
            raise ValueError(f"depth {depth}: expected 1 or more")
        split = words((query.text for query in queries), self._parameters).by_text()
        found = []
        for query_words in Progress(len(split), "BM25: search", "query", plural="queries", log_end=False).track(split):
            numbers = [number for word in query_words if (number := self._number(word)) is not None]
            if not numbers:
                found.append((np.empty(0, np.int32), np.empty(0, np.float32)))
                continue
            scores = self._retriever.get_scores_from_ids(numbers)  # [passages], float32
            best = _best(scores, depth)
            found.append((best.astype(np.int32), scores[best]))
        return found

    def rankings(self, queries: Sequence[Query], found: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, Ranking]:
        """Convert `found`, the result of `best` for the same queries, to rankings: query id -> ranking."""
        run: dict[str, Ranking] = {}
        for query, (numbers, scores) in zip(queries, found, strict=True):
            ids = [self.passage_id(number) for number in numbers.tolist()]
            run[query.id] = Ranking.from_scores(query.id, ids, scores.tolist())
        return run

    def passage_id(self, number: int) -> str:
        """Return the id of a passage by its index in the collection, from 0."""
        return self._passage_ids[number].decode("utf-8", "surrogatepass")

    def _number(self, word: str) -> int | None:
        """A word's index in the vocabulary, or None. It is searched on disk: vocabularies have millions of words."""
        encoded = word.encode()
        index = bisect_left(self._words, encoded)
        return index if index < len(self._words) and self._words[index] == encoded else None


def _best(scores: np.ndarray, depth: int) -> np.ndarray:
    """Indices of the `depth` highest positive scores; ties in ascending order (bm25s breaks ties arbitrarily)."""
    found = np.flatnonzero(scores > 0)
    if len(found) > depth:
        values = scores[found]
        least = np.partition(values, len(values) - depth)[len(values) - depth]  # the depth-th highest score
        above = found[values > least]
        found = np.concatenate([above, found[values == least][: depth - len(above)]])
    return found[np.argsort(-scores[found], kind="stable")]


def index_folder(collection: Collection, parameters: BM25Parameters, cache_dir: Path) -> Path:
    """Return the path of a collection's index, `cache_dir/bm25/<key>`. The folder need not exist.

    The key is a hash of the passages' fingerprint, the formula's parameters, the analysis of texts and the version of
    bm25s. Collections with the same passages (TREC DL 2019 and 2020) share an index, as do languages with the same
    analysis (`chinese` and `japanese`).
    """
    formula = (parameters.k1, parameters.b, parameters.method)
    settings = json.dumps((formula, asdict(parameters.analysis)), sort_keys=True)
    key = fingerprint((_FORMAT, bm25s().__version__, collection.passages_fingerprint, settings))
    return cache_dir / "bm25" / key


def bm25_index(collection: Collection, parameters: BM25Parameters, cache_dir: Path) -> BM25Index:
    """Open the index of a collection's passages in the folder `cache_dir`, or build it there.

    During a build, the folder `<key>.parts` holds the finished parts; an interrupted build resumes from them. A second
    process that needs the same index waits for the first. Memory and disk: experiments/first_stage/README.md.

    The files are checked against their checksums (`headrank.io.checksums`). A modified or damaged index is rebuilt,
    with a warning that names the file.

    Raises:
        ValueError: if no passage has a word.
    """
    folder = index_folder(collection, parameters, cache_dir)
    work = folder.with_name(f"{folder.name}.parts")
    if not folder.is_dir() or damaged_file(folder) is not None:
        with cache_lock(cache_dir, f"bm25_{folder.name}"):
            remove_leftovers(folder.parent, name=folder.name)
            damaged = damaged_file(folder) if folder.is_dir() else None
            if damaged is not None:
                _log.warning("%s is modified or damaged; rebuilding the index", damaged)
                shutil.rmtree(folder)
            if not folder.is_dir():
                with disk_errors(work):
                    work.mkdir(parents=True, exist_ok=True)
                    _build(collection, parameters, work, folder)
    index = BM25Index(folder, parameters)
    _log.info("%s: BM25 index of %d passages, %s", collection.name, len(index), folder)
    published = collection.published_passage_count
    if published not in (None, len(index)):
        _log.warning(
            "%s: the BM25 index has %d passages, the published collection has %d: the files were incomplete or of "
            "another version. To rebuild the index from complete files, delete %s",
            *(collection.name, len(index), published, folder),
        )
    return index


def _build(collection: Collection, parameters: BM25Parameters, work: Path, folder: Path) -> None:
    remove_leftovers(work)
    _keep_whole_parts(work)
    done, total = passages_done(work), collection.passage_count
    resumed = f", resumed after {done} passages" if done else ""
    _log.info("%s: building the BM25 index, %d passages expected%s", collection.name, total, resumed)
    if not (work / "complete").is_file():
        write_parts(collection.passages(done), parameters, work, done=done, total=total)
        (work / "complete").touch()
    with atomic_folder(folder) as temporary:
        merge_parts(work, parameters, temporary)
        write_folder_sums(temporary)
    shutil.rmtree(work)


def _keep_whole_parts(work: Path) -> None:
    """Remove the first damaged part and all later parts. The build resumes after the last remaining part."""
    folders = part_folders(work)
    for number, part in enumerate(folders):
        damaged = damaged_file(part)
        if damaged is not None:
            _log.warning("%s is modified or damaged; its passages are read again", damaged)
            (work / "complete").unlink(missing_ok=True)
            for after in folders[number:]:
                shutil.rmtree(after)
            return


def bm25_run(
    collection: Collection, queries: Sequence[Query], depth: int, parameters: BM25Parameters, cache_dir: Path
) -> dict[str, Ranking]:
    """Find the `depth` best passages of each query with BM25; open the collection's index, or build it.

    Results are cached in `cache_dir`, so the same search is not repeated.

    Returns:
        Query id -> ranking, as in `BM25Index.search`.

    Raises:
        ValueError: if `depth` is below 1 or no passage has a word.
    """
    index = bm25_index(collection, parameters, cache_dir)
    return index.rankings(queries, bm25_best(index, queries, depth, cache_dir))


def bm25_best(
    index: BM25Index, queries: Sequence[Query], depth: int, cache_dir: Path
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Search like `BM25Index.best`, and cache the result in `cache_dir`."""
    texts = (part for query in queries for part in (query.id, query.text))
    path = cache_dir / "bm25_runs" / f"{fingerprint((_FORMAT, index.folder.name, str(depth), *texts))}.npz"
    found = _read_found(path)
    if found is None:
        found = index.best(queries, depth)
        with checked_write(path) as file:
            np.savez(
                file,
                ends=np.cumsum([len(numbers) for numbers, _ in found]),
                passages=np.concatenate([numbers for numbers, _ in found]),
                scores=np.concatenate([scores for _, scores in found]),
            )
    return found


def _read_found(path: Path) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """The cached result of `BM25Index.best`, or None if it is missing or damaged."""
    if not path.is_file():
        return None
    if not is_whole(path):
        _log.warning("%s is modified or damaged; searching again", path)
        return None
    with np.load(path, allow_pickle=False) as arrays:
        columns = [np.split(arrays[name], arrays["ends"][:-1]) for name in ("passages", "scores")]
    return list(zip(*columns, strict=True))
