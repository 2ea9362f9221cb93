"""Read requests: JSON Lines of queries with their candidates, as rank_llm and Anserini write them.

    {"query": {"qid": "q1", "text": "..."}, "candidates": [{"docid": "d1", "score": 9.5, "doc": {"text": "..."}}]}

    query        an object with an id (`qid`, `query_id`, `_id` or `id`) and a text, or the text alone. The id may also
                 be a key of the line (`{"qid": ..., "query": "..."}`). Without an id the line number is the id.
    candidates   id under `docid`, `doc_id`, `_id` or `id`; text under `text` or `contents`, or in `doc`: a text, or an
                 object with `text`, `contents`, `segment`, `content`, `body` or `passage`, optionally `title`.
                 `score` (all candidates of the line or none) and `grade` or `rel` (a whole number) are optional.

Candidates are in the order of their scores, highest first, and equal scores in the order of the line, as in a run file;
without scores, in the order of the line.

    for request in read_requests(Path("requests.jsonl.gz")):
        ranking = reranker.rank(request.query.text, request.candidate_list.passages)
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from headrank.data.parsing import OnInvalid, parsed_lines, shown
from headrank.data.records import QUERY_ID, TEXT, Record, parse_record
from headrank.ranking import CandidateList, Passage, Query

_CANDIDATE_ID = ("docid", "doc_id", "_id", "id")
_DOC_TEXT = (*TEXT, "segment", "content", "body", "passage")
_GRADE = ("grade", "rel")
_SCORE_MAX = 3e38  # within float32, which run files use


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate of a request. `score` and `grade` are None if the file has none; `raw` is its JSON object."""

    passage: Passage
    score: float | None
    grade: int | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """A query with its candidates, best first. `line` is the line number (from 1), `raw` the line's JSON object."""

    line: int
    query: Query
    candidates: tuple[Candidate, ...]
    raw: Mapping[str, Any]

    @property
    def candidate_list(self) -> CandidateList:
        """The query and its candidates as a `CandidateList`, with first-stage scores if the file has them."""
        scores = tuple(one.score for one in self.candidates if one.score is not None)
        return CandidateList(self.query, tuple(one.passage for one in self.candidates), scores or None)


def read_requests(
    source: str | Path | Iterable[bytes], *, title: bool = True, on_invalid: OnInvalid = None
) -> Iterator[Request]:
    """Yield the requests of a file one by one.

    Query ids may repeat; a caller that needs distinct ids must check them.

    Args:
        source: a file, compressed if its name ends in `.gz`, or lines of bytes (`sys.stdin.buffer`).
        title: whether a passage's title is put before its text.
        on_invalid: called with the error of an invalid line, which is skipped; None: the error is raised.

    Raises:
        FormatError: if a line is invalid (the message names file and line), or the file cannot be read.
        MissingFileError: if the file does not exist.
    """
    source = Path(source) if isinstance(source, str) else source
    return parsed_lines(source, partial(_parse, title=title), on_invalid)


def _parse(file: str, number: int, line: str, *, title: bool) -> Request:
    record = parse_record(file, number, line)
    query = _query(record)
    _, found = record.pick(("candidates",))
    if not isinstance(found, list):
        raise record.error(f'"candidates": {shown(found)} ({type(found).__name__})', "a list of candidates")
    candidates = [_candidate(record, i, values, title=title) for i, values in enumerate(found)]
    seen: set[str] = set()
    for one in candidates:
        if one.passage.id in seen:
            raise record.error(f"query {shown(query.id)}: candidate {shown(one.passage.id)} twice", "each passage once")
        seen.add(one.passage.id)
    scores = [one.score for one in candidates if one.score is not None]
    if scores and len(scores) < len(candidates):
        raise record.error(f"scores for {len(scores)} of {len(candidates)} candidates", "a score for each, or for none")
    if scores:
        candidates.sort(key=lambda one: -(one.score or 0.0))  # stable: equal scores keep their order
    return Request(number, query, tuple(candidates), record.values)


def _query(record: Record) -> Query:
    _, found = record.pick(("query",))
    if isinstance(found, str):
        text, owner = record.text(("query",)), record
    elif isinstance(found, dict):
        owner = Record(record.file, record.line, found, "query")
        text = owner.text(TEXT)
    else:
        raise record.error(
            f'"query": {shown(found)} ({type(found).__name__})', "a text, or an object with qid and text"
        )
    named = next((one for one in (owner, record) if one.has(QUERY_ID)), None)
    return owner.query(named.id(QUERY_ID) if named else str(record.line), text)


def _candidate(record: Record, index: int, values: Any, *, title: bool) -> Candidate:
    inside = f"candidates[{index}]"
    if not isinstance(values, dict):
        raise record.error(f"{inside}: {shown(values)} ({type(values).__name__})", "an object with docid and text")
    one = Record(record.file, record.line, values, inside)
    passage_id = one.id(_CANDIDATE_ID)
    if isinstance(values.get("doc"), dict) and not one.has(TEXT):
        text = Record(record.file, record.line, values["doc"], f"{inside}.doc").body(_DOC_TEXT, title=title)
    else:
        text = one.body((*TEXT, "doc"), title=title)
    score = values.get("score")
    if score is not None and not (type(score) in (int, float) and abs(score) <= _SCORE_MAX):
        raise one.error(f'"score": {shown(score)}', f"a number within +-{_SCORE_MAX:g}")
    grade = one.pick(_GRADE)[1] if one.has(_GRADE) else None
    if grade is not None and not (type(grade) in (int, float) and grade == int(grade) and abs(grade) < 1e18):
        raise one.error(f"grade {shown(grade)}", "a whole number")
    return Candidate(
        Passage(passage_id, text),
        None if score is None else float(score),
        None if grade is None else int(grade),
        values,
    )
