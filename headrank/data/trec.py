"""Read and write TREC run files. Reading is strict; writing keeps the order of ties.

A run file has six columns, `query Q0 passage rank score tag`, separated by spaces or tabs. First stages are read from
run files, rerankings are written to run files.
"""

import logging
import math
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import numpy as np

from headrank.data.parsing import INTEGER, checked_id, format_error, id_fault, numbered_lines, shown, split_columns
from headrank.errors import FormatError
from headrank.io.files import atomic_write
from headrank.ranking import Ranking, Run

_log = logging.getLogger(__name__)

_RUN_COLUMNS = ("query", "Q0", "passage", "rank", "score", "tag")
# Python's own float() and int() also read "1_000", "nan", "infinity" and digits of other scripts
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_CROWDED = 3e38  # above it there may be too few float32 numbers left to separate tied passages


class Duplicates(StrEnum):
    """The ways to treat a passage that a run repeats for a query, as merged runs do: an error, or its best place."""

    ERROR = "error"
    BEST = "best"  # its best place counts


def run_lines(path: Path) -> Iterator[tuple[int, str, str, int, float]]:
    """Yield (line number, query id, passage id, rank, score) for each line of a run file, in the file's order.

    Raises the errors of `read_run`, except the one for repeated passages.
    """
    for number, line in numbered_lines(path):
        query, _, passage, rank, score, _ = split_columns(path, number, line, _RUN_COLUMNS)
        checked_id(path, number, "query", query)
        checked_id(path, number, "passage", passage)
        if not INTEGER.fullmatch(rank) or int(rank) < 0:
            raise format_error(path, number, f"rank {shown(rank)}", "a whole number, 0 or more")
        value = float(score) if _NUMBER.fullmatch(score) else math.nan
        if not abs(value) <= _FLOAT32_MAX:  # also catches NaN
            raise format_error(
                path, number, f"score {shown(score)} of query {shown(query)}", f"a number within +-{_FLOAT32_MAX:.6g}"
            )
        yield number, query, passage, int(rank), value


def read_run(path: str | Path, *, duplicates: Duplicates | str = Duplicates.ERROR) -> dict[str, Ranking]:
    """Read a TREC run file.

    Passages are ordered by score (highest first), equal scores by the rank column, equal ranks by line. The rank column
    has no other use (trec_eval ignores it too). The lines of a query need not be contiguous. A file without lines is an
    empty run.

    Args:
        path: the file.
        duplicates: `error`: a passage repeated for a query is an error; `best`: its best place counts.

    Returns:
        Query id -> ranking, queries in the order of their first line.

    Raises:
        FormatError: if a line does not have six columns, an id contains whitespace or control characters, a rank is not
            a whole number >= 0, a score is not a decimal number within float32, a query contains a passage twice
            (unless `duplicates` is `best`), or the file cannot be read.
        MissingFileError: if the file does not exist.
    """
    path = Path(path)
    lines: dict[str, list[tuple[float, int, str]]] = {}
    first_seen: dict[tuple[str, str], int] = {}
    repeated = 0
    for number, query, passage, rank, score in run_lines(path):
        earlier = first_seen.setdefault((query, passage), number)
        repeated += earlier != number
        if earlier != number and duplicates != Duplicates.BEST:
            raise format_error(
                path,
                number,
                f"passage {shown(passage)} of query {shown(query)} repeated (first on line {earlier})",
                "each passage once per query, or the key duplicates=best of its data set, which keeps the best place",
            )
        lines.setdefault(query, []).append((score, rank, passage))
    run: dict[str, Ranking] = {}
    for query, found in lines.items():
        found.sort(key=lambda entry: (-entry[0], entry[1]))
        best: dict[str, float] = {}
        for score, _, passage in found:
            best.setdefault(passage, score)
        run[query] = Ranking.from_scores(query, list(best), list(best.values()))
        fault = ranking_fault(run[query])
        if fault:
            raise FormatError(f"{path}: query {shown(query)}: {fault}")
    if repeated:
        _log.info("%s: %d lines repeat a passage of their query; its best place counts", path, repeated)
    return run


def separate_scores(scores: Sequence[float]) -> tuple[float, ...]:
    """Round non-increasing scores to strictly decreasing float32 values. [ours]

    trec_eval reads scores as float32 and orders equal scores by passage id, not by their order in the file. A score
    that equals its predecessor after rounding is therefore lowered to one float32 step below it. Strictly decreasing
    float32 scores are returned unchanged. In the worst case a score of n moves by n steps, a relative change of about
    n x 6e-8.

    Args:
        scores: [docs], finite and non-increasing.

    Raises:
        ValueError: if a score is outside float32, or no float32 number is left below the previous score.
    """
    separated: list[float] = []
    previous = np.float32(np.inf)
    for score in scores:
        if not abs(score) <= _FLOAT32_MAX:  # also catches NaN
            raise ValueError(f"score {score}; expected a finite float32 number (largest: {_FLOAT32_MAX:.6g})")
        value = np.float32(score)
        if not value < previous:
            value = np.nextafter(previous, np.float32(-_FLOAT32_MAX))
            if not value < previous:
                raise ValueError(f"score {score}: expected a float32 number below {previous}, and none is left")
        separated.append(float(value))
        previous = value
    return tuple(separated)


def ranking_fault(ranking: Ranking) -> str | None:
    """Return the reason why `write_run` cannot write this ranking (a bad id or score), or None if it can."""
    try:
        check_writable(ranking.query_id, ranking.passage_ids)
        scores = ranking.scores
        if scores and (abs(scores[0]) > _CROWDED or abs(scores[-1]) > _CROWDED):
            separate_scores(scores)
    except ValueError as error:
        return str(error)
    return None


def _check_tag(tag: str) -> None:
    fault = id_fault(tag)
    if fault:
        raise ValueError(f"run tag {shown(tag)} {fault}")


def ranking_lines(ranking: Ranking, tag: str) -> tuple[list[str], int]:
    """Format one query's ranking as lines of a run file, in the form that `write_run` documents.

    Returns:
        The lines, and the number of scores that `separate_scores` lowered.

    Raises:
        ValueError: under the conditions of `write_run`.
    """
    _check_tag(tag)
    query_id, scores = ranking.query_id, ranking.scores
    check_writable(query_id, ranking.passage_ids)
    if any(later > earlier for earlier, later in pairwise(scores)):
        raise ValueError(f"query {shown(query_id)}: expected non-increasing scores, found scores that increase")
    try:
        separated = separate_scores(scores)
    except ValueError as error:
        raise ValueError(f"query {shown(query_id)}: {error}") from None
    lines = [
        f"{query_id} Q0 {passage_id} {rank} {score!r} {tag}\n"
        for rank, (passage_id, score) in enumerate(zip(ranking.passage_ids, separated, strict=True), 1)
    ]
    return lines, sum(1 for given, written in zip(scores, separated, strict=True) if np.float32(given) != written)


def write_run(path: str | Path, run: Run, tag: str) -> None:
    """Write a TREC run file atomically, with ranks 1, 2, 3, ... and queries and passages in the order given.

    Scores are written as float32 values with all digits, made strictly decreasing by `separate_scores`. `read_run` and
    trec_eval therefore reproduce the order, ties included, and distinct float32 scores are read back unchanged. Queries
    without passages have no line; the log reports their number.

    Args:
        path: the file to write.
        run: query id -> ranking.
        tag: the name of the system, the last column.

    Raises:
        ValueError: before anything is written, if an id or the tag is empty or contains whitespace or control
            characters, a passage is repeated, scores increase or are not finite float32 numbers, or a ranking is stored
            under another query's id.
    """
    _check_tag(tag)
    lines: list[str] = []
    moved = 0
    for query_id, ranking in run.items():
        if ranking.query_id != query_id:
            raise ValueError(
                f"expected the ranking of query {shown(query_id)}, found that of query {shown(ranking.query_id)}"
            )
        of_query, changed = ranking_lines(ranking, tag)
        lines += of_query
        moved += changed
    empty = sum(1 for ranking in run.values() if not ranking.results)
    if empty:
        _log.warning("%s: %d of %d queries have no passages; they are not written", path, empty, len(run))
    if moved:
        _log.debug("%s: %d scores lowered by one float32 step to keep the order of tied passages", path, moved)
    with atomic_write(path) as handle:
        handle.writelines(lines)


def check_writable(query_id: str, passage_ids: Sequence[str]) -> None:
    """Raise `ValueError` if `query_id` or one of `passage_ids` is not valid in TREC files, or a passage is repeated."""
    fault = id_fault(query_id)
    if fault:
        raise ValueError(f"query id {shown(query_id)} {fault}")
    seen: set[str] = set()
    for passage_id in passage_ids:
        fault = id_fault(passage_id)
        if fault:
            raise ValueError(f"query {shown(query_id)}: passage id {shown(passage_id)} {fault}")
        if passage_id in seen:
            raise ValueError(f"query {shown(query_id)}: expected each passage once, found {shown(passage_id)} twice")
        seen.add(passage_id)
