"""Build a BM25 index of any size. Passages are streamed, and memory holds one part of them at a time.

1. Parts: passages are read until a part is full (`PART_CHARACTERS`). Its words are counted and written to the work
   folder. An interrupted build resumes after the last complete part.
2. Merge: the sorted words of all parts are merged into one vocabulary. The postings of all parts, (word, passage)
   pairs with counts, are then scored and written, one block of words at a time.

Formulas of the scores: Kamphuis et al., "Which BM25 do you mean?" (ECIR 2020), table 1, as implemented in bm25s.
"""

import heapq
import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np

from headrank.data.bm25.string_table import Texts, write_texts
from headrank.data.bm25.words import BM25Method, BM25Parameters, words
from headrank.data.parsing import shown
from headrank.errors import FormatError
from headrank.io.checksums import write_folder_sums
from headrank.io.files import atomic_folder
from headrank.logs import Progress
from headrank.ranking import Passage

PART_CHARACTERS = 2**25  # characters of text in a part (34 million): bounds the memory of step 1 to about 0.5 GB
BLOCK_POSTINGS = 2**23  # (word, passage) pairs scored at once: bounds the memory of step 2 to about 0.5 GB


def write_part(folder: Path, passages: list[Passage], parameters: BM25Parameters) -> None:
    """Count the words of some passages and write the counts, one part of an index, to an existing folder.

    Words are sorted by their UTF-8 bytes. Postings, (word, passage) pairs with the word's count, are sorted by word,
    then by passage index within the part.
    """
    found = words((passage.text for passage in passages), parameters)
    passage_of = np.repeat(np.arange(len(passages)), found.lengths)
    pairs, counts = np.unique(found.ids * len(passages) + passage_of, return_counts=True)
    frequencies = np.bincount(pairs // len(passages), minlength=len(found.vocabulary))
    write_texts(folder, "words", (word.encode() for word in found.vocabulary))
    write_texts(folder, "passage_ids", (passage.id.encode("utf-8", "surrogatepass") for passage in passages))
    np.save(folder / "lengths.npy", found.lengths)
    np.save(folder / "frequencies.npy", frequencies.astype(np.int32))
    np.save(folder / "passages.npy", (pairs % len(passages)).astype(np.int32))
    np.save(folder / "counts.npy", counts.astype(np.int32))


@dataclass(frozen=True, slots=True)
class _Part:
    """A memory-mapped part."""

    folder: Path
    first: int  # index of its first passage in the collection
    lengths: np.ndarray  # [passages], number of words
    starts: np.ndarray  # [words + 1], start of each word's postings
    words: np.ndarray  # [words], index of each word in the merged vocabulary

    def postings(self, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the passage indices (within the part) and the word counts of the postings `low` to `high`."""
        passages = np.load(self.folder / "passages.npy", mmap_mode="r")
        counts = np.load(self.folder / "counts.npy", mmap_mode="r")
        return np.asarray(passages[low:high]), np.asarray(counts[low:high])


def part_folders(work: Path) -> list[Path]:
    """Return the folders of the complete parts in a work folder, in the order of their passages."""
    return sorted(path for path in work.glob("part-*") if path.is_dir())


def write_parts(
    passages: Iterable[Passage], parameters: BM25Parameters, work: Path, *, done: int = 0, total: int | None = None
) -> None:
    """Write the parts of an index to the work folder (step 1 of a build). Complete parts of an earlier call are kept.

    Args:
        passages: the passages of the collection, without the first `done`.
        parameters: the parameters of BM25.
        work: the work folder.
        done: the number of passages in the existing parts.
        total: the number of all passages, if known (for the progress bar).
    """
    number = len(part_folders(work))
    held: list[Passage] = []
    characters = 0
    for passage in Progress(total, "BM25: words", "passage", initial=done, log_end=False).track(passages):
        held.append(passage)
        characters += len(passage.text)
        if characters >= PART_CHARACTERS:
            with atomic_folder(work / f"part-{number:05}") as folder:
                write_part(folder, held, parameters)
                write_folder_sums(folder)
            number, held, characters = number + 1, [], 0
    if held:
        with atomic_folder(work / f"part-{number:05}") as folder:
            write_part(folder, held, parameters)
            write_folder_sums(folder)


def passages_done(work: Path) -> int:
    """Return the number of passages in the complete parts of a work folder."""
    return sum(len(np.load(part / "lengths.npy", mmap_mode="r")) for part in part_folders(work))


def merge_parts(work: Path, parameters: BM25Parameters, folder: Path) -> None:
    """Merge the parts of a work folder into an index (step 2 of a build), in the array layout of bm25s.

    Args:
        work: the work folder with the parts.
        parameters: the parameters of BM25.
        folder: the existing folder to which the index is written.

    Raises:
        ValueError: if no passage has a word.
        FormatError: if two passages have the same id.
    """
    folders = part_folders(work)
    _check_ids(folders)
    numbers = _vocabulary(folders, folder)
    write_texts(folder, "passage_ids", chain.from_iterable(Texts(part, "passage_ids") for part in folders))
    parts: list[_Part] = []
    first = 0
    for part, global_numbers in zip(folders, numbers, strict=True):
        lengths = np.load(part / "lengths.npy")
        starts = np.concatenate([[0], np.cumsum(np.load(part / "frequencies.npy"), dtype=np.int64)])
        parts.append(_Part(part, first, lengths, starts, global_numbers))
        first += len(lengths)
    size = 1 + max((int(part.words[-1]) for part in parts if len(part.words)), default=-1)
    if not size:
        raise ValueError(f"BM25: expected passages with words, found no word in {first} passages")
    frequency = np.zeros(size, dtype=np.int64)
    for part in parts:
        frequency[part.words] += np.diff(part.starts)
    average = sum(int(part.lengths.sum()) for part in parts) / first
    starts = np.concatenate([[0], np.cumsum(frequency)])
    idf = inverse_document_frequency(frequency, first, parameters.method)
    np.save(folder / "indptr.npy", starts)
    with (folder / "indices.npy").open("wb") as passages, (folder / "data.npy").open("wb") as scores:
        _write_header(passages, np.int32, int(starts[-1]))
        _write_header(scores, np.float32, int(starts[-1]))
        with Progress(int(starts[-1]), "BM25: scores", "posting", log_end=False) as progress:
            for low, high in _blocks(starts):
                block_passages, block_scores = _block(parts, starts, idf, average, low, high, parameters)
                block_passages.tofile(passages)
                block_scores.tofile(scores)
                progress.update(len(block_scores))
    facts = {"passages": first, "words": size, "postings": int(starts[-1]), "average_length": average}
    (folder / "index.json").write_text(json.dumps({**facts, **asdict(parameters)}, indent=1), encoding="utf-8")


def _check_ids(parts: list[Path]) -> None:
    """Raise `FormatError` if a passage id occurs twice. Its words would count twice in every score."""

    def ids() -> Iterator[bytes]:
        return chain.from_iterable(Texts(part, "passage_ids") for part in parts)

    # 8 bytes per passage, less memory than the ids themselves
    hashes = np.fromiter((hash(passage_id) for passage_id in ids()), dtype=np.int64)
    values, counts = np.unique(hashes, return_counts=True)
    suspects = set(values[counts > 1].tolist())
    seen: set[bytes] = set()
    for passage_id in ids() if suspects else ():
        if hash(passage_id) not in suspects:
            continue
        if passage_id in seen:
            raise FormatError(
                f"expected unique passage ids, found {shown(passage_id.decode('utf-8', 'surrogatepass'))} twice among "
                f"{len(hashes)} passages ({int((counts - 1).sum())} repeated ids in total). For an ir_datasets id, "
                "delete the collection's docs.pklz4 folder under $IR_DATASETS_HOME; it is rebuilt"
            )
        seen.add(passage_id)


def _vocabulary(parts: list[Path], folder: Path) -> list[np.ndarray]:
    """Write the sorted union of the parts' words. Returns, for each part, the ascending indices of its words in it."""
    numbers = [array("i") for _ in parts]

    def tagged(part: int) -> Iterator[tuple[bytes, int]]:
        return ((word, part) for word in Texts(parts[part], "words"))

    def union() -> Iterator[bytes]:
        before, number = None, -1
        for word, part in heapq.merge(*(tagged(part) for part in range(len(parts)))):
            if word != before:
                before, number = word, number + 1
                yield word
            numbers[part].append(number)

    write_texts(folder, "words", union())
    return [np.frombuffer(indices, dtype=np.int32) if indices else np.empty(0, np.int32) for indices in numbers]


def _blocks(starts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield ranges of words with at most `BLOCK_POSTINGS` postings; a single word may have more."""
    low = 0
    while low < len(starts) - 1:
        high = int(np.searchsorted(starts, starts[low] + BLOCK_POSTINGS, side="right")) - 1
        yield low, max(high, low + 1)
        low = max(high, low + 1)


def _block(
    parts: list[_Part],
    starts: np.ndarray,
    idf: np.ndarray,
    average: float,
    low: int,
    high: int,
    parameters: BM25Parameters,
) -> tuple[np.ndarray, np.ndarray]:
    """Passage indices and scores of the postings of words `low` to `high`, sorted by word, then by passage."""
    size = int(starts[high] - starts[low])
    passages, scores = np.empty(size, np.int32), np.empty(size, np.float32)
    free = starts[low:high] - starts[low]  # [words], index of each word's next posting
    for part in parts:
        a, b = np.searchsorted(part.words, [low, high])
        if a == b:
            continue
        inside, counts = part.postings(int(part.starts[a]), int(part.starts[b]))
        each, here = np.diff(part.starts[a : b + 1]), part.words[a:b] - low
        target = np.repeat(free[here] - (part.starts[a:b] - part.starts[a]), each) + np.arange(len(inside))
        free[here] += each
        weight = term_frequency(counts, part.lengths[inside], average, parameters)
        passages[target] = inside + part.first
        scores[target] = np.repeat(idf[part.words[a:b]], each) * weight
    return passages, scores


def inverse_document_frequency(frequency: np.ndarray, passages: int, method: BM25Method) -> np.ndarray:
    """Compute the inverse document frequency of words.

    Args:
        frequency: [words], the number of passages with the word, >= 1.
        passages: the number of passages.
        method: the variant of the formula.

    Returns:
        [words], float32.
    """
    odds = (passages - frequency + 0.5) / (frequency + 0.5)
    if method == BM25Method.LUCENE:
        idf = np.log(1 + odds)
    elif method == BM25Method.ROBERTSON:
        idf = np.log(np.maximum(odds, 1))  # never negative
    else:
        idf = np.log(passages / frequency)
    return idf.astype(np.float32)


def term_frequency(counts: np.ndarray, lengths: np.ndarray, average: float, parameters: BM25Parameters) -> np.ndarray:
    """Compute the term-frequency factor of the BM25 score for (word, passage) pairs.

    Args:
        counts: [postings], occurrences of the word in the passage.
        lengths: [postings], length of the passage in words.
        average: the mean passage length in words.
        parameters: the parameters of BM25.

    Returns:
        [postings]; the score of a pair is this factor times the inverse document frequency.
    """
    damping = parameters.k1 * (1 - parameters.b + parameters.b * lengths / average)
    gain = parameters.k1 + 1 if parameters.method == BM25Method.ATIRE else 1
    counts = counts.astype(np.float32)  # as in bm25s, for bitwise equal scores
    return counts * gain / (counts + damping)


def _write_header(file: IO[bytes], dtype: Any, length: int) -> None:
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": (length,)})
