"""Read passages and queries from JSON Lines, with the key names of common tools, and queries from TSV.

    docs.jsonl, corpus.jsonl     {"doc_id" | "docid" | "_id" | "id": ..., "text" | "contents": ..., "title": optional}
    queries.jsonl                {"query_id" | "qid" | "_id" | "id": ..., "text" | "contents": ...}
    queries.tsv                  id TAB text

An integer id becomes its decimal text; other keys are ignored. If a record has several alternative keys, `doc_id`,
`query_id` and `text` take precedence; without them, the values of the alternatives must be equal.

`iter_passages` and `iter_queries` stream; `read_passages` and `read_queries` check that ids are unique.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from headrank.data.parsing import (
    OnInvalid,
    Source,
    format_error,
    id_fault,
    parsed_lines,
    plain_name,
    shown,
    text_fault,
)
from headrank.errors import FormatError
from headrank.io.strict_json import parse_json
from headrank.ranking import Passage, Query

PASSAGE_ID = ("doc_id", "docid", "_id", "id")
QUERY_ID = ("query_id", "qid", "_id", "id")
TEXT = ("text", "contents")


@dataclass(frozen=True, slots=True)
class Record:
    """A JSON object, with its place in the file for error messages.

    file, line: the name of the file and the line number, from 1.
    values: the object's keys and values.
    inside: the path of the object within the JSON value of the line, such as `candidates[2]`; "" for the whole value.
    """

    file: str
    line: int
    values: Mapping[str, Any]
    inside: str = ""

    def error(self, found: str, expected: str) -> FormatError:
        """Return a `FormatError` that names this record's place, what was found and what was expected."""
        where = f"{self.inside}: " if self.inside else ""
        return format_error(self.file, self.line, f"{where}{found}", expected)

    def has(self, names: Sequence[str]) -> bool:
        """Return whether the record has one of the keys with a value that is not null."""
        return any(self.values.get(name) is not None for name in names)

    def pick(self, names: Sequence[str]) -> tuple[str, Any]:
        """Return the first key of `names` that the record has, and its value.

        Raises `FormatError` if the record has none of the keys, or if it lacks the first key and has several others
        with different values.
        """
        found = {name: self.values[name] for name in names if name in self.values}
        if not found:
            one_of = "the key " if len(names) == 1 else "one of the keys "
            raise self.error(f"keys {shown(sorted(self.values))}", one_of + ", ".join(f'"{name}"' for name in names))
        key, value = next(iter(found.items()))
        if key != names[0] and any(other != value for other in found.values()):
            several = ", ".join(f'"{name}": {shown(other)}' for name, other in found.items())
            raise self.error(several, f'one of them, or the key "{names[0]}"')
        return key, value

    def id(self, names: Sequence[str]) -> str:
        """Return the record's id, under one of the keys `names`. Raises `FormatError` if it is not a valid id."""
        key, value = self.pick(names)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise self.error(f'"{key}": {shown(value)} ({type(value).__name__})', "a string or a whole number")
        self._check_id(value)
        return value

    def _check_id(self, value: str) -> None:
        fault = id_fault(value)
        if fault:
            raise self.error(f"id {shown(value)}, which {fault}", "an id without whitespace")

    def text(self, names: Sequence[str]) -> str:
        """Return the text under one of the keys `names`; it may be empty. Raises `FormatError` if it is no text."""
        key, value = self.pick(names)
        if not isinstance(value, str):
            raise self.error(f'"{key}": {shown(value)} ({type(value).__name__})', "a string")
        fault = text_fault(value)
        if fault:
            raise self.error(f'"{key}": a string that {fault}', "Unicode text")
        return value

    def body(self, names: Sequence[str] = TEXT, *, title: bool) -> str:
        """Return a passage's text. If `title` is true, a title that is not empty or null is put before it.

        names: the possible keys of the text.
        """
        text = self.text(names)
        heading = self.text(("title",)) if title and self.has(("title",)) else ""
        return f"{heading} {text}" if heading else text

    def query(self, query_id: str, text: str) -> Query:
        """Make a `Query`. Raises `FormatError`, naming this record, if the id is invalid or the text is blank."""
        self._check_id(query_id)
        if not text.strip():
            raise self.error(f"query {shown(query_id)} without text", "a query text")
        return Query(query_id, text)


def parse_record(file: str, number: int, line: str) -> Record:
    """Parse a line as a JSON object. Raises `FormatError`, naming `file` and line `number`, if it is not one."""
    values = parse_json(line, f"{file}:{number}: {shown(line)}")
    if not isinstance(values, dict):
        raise format_error(file, number, shown(line), "a JSON object")
    return Record(file, number, values)


def iter_passages(source: Source, *, title: bool = True, on_invalid: OnInvalid = None) -> Iterator[tuple[int, Passage]]:
    """Yield (line number, passage) for each line of `docs.jsonl`. Empty texts are allowed.

    Args:
        source: a file, compressed if its name ends in `.gz`, or lines of bytes (`sys.stdin.buffer`).
        title: whether a passage's non-empty "title" is put before its text, separated by a space.
        on_invalid: called with the error of an invalid line, which is skipped; None: the error is raised.

    Raises:
        FormatError: if JSON is malformed, a key is missing, a value has another type, or an id is invalid.
    """
    return parsed_lines(source, partial(_parse_passage, title=title), on_invalid)


def _parse_passage(file: str, number: int, line: str, *, title: bool) -> tuple[int, Passage]:
    record = parse_record(file, number, line)
    return number, Passage(record.id(PASSAGE_ID), record.body(title=title))


def iter_queries(source: Source, *, tsv: bool, on_invalid: OnInvalid = None) -> Iterator[tuple[int, Query]]:
    """Yield (line number, query) for each line of `queries.tsv` (if `tsv` is true) or `queries.jsonl`.

    See `iter_passages` for the other arguments and the errors. A query with a blank text is invalid.
    """
    return parsed_lines(source, _parse_tsv_query if tsv else _parse_query, on_invalid)


def _parse_query(file: str, number: int, line: str) -> tuple[int, Query]:
    record = parse_record(file, number, line)
    return number, record.query(record.id(QUERY_ID), record.text(TEXT))


def _parse_tsv_query(file: str, number: int, line: str) -> tuple[int, Query]:
    columns = line.split("\t")
    if len(columns) != 2:
        raise format_error(file, number, f"{len(columns)} columns in {shown(line)}", "2 columns (id TAB text)")
    return number, Record(file, number, {}).query(*columns)


def read_passages(path: str | Path, *, title: bool = True) -> dict[str, Passage]:
    """Read the passages of `docs.jsonl` (see `iter_passages`). Repeated texts are allowed.

    Returns:
        Passage id -> passage, in file order.

    Raises:
        FormatError: if a line is invalid, an id is repeated, or the file is empty.
    """
    return _by_id(Path(path), iter_passages(Path(path), title=title), "a passage (a JSON object with doc_id and text)")


def read_queries(path: str | Path) -> dict[str, Query]:
    """Read the queries of `queries.jsonl`, or of `queries.tsv` if the name does not end in `.jsonl` or `.jsonl.gz`.

    Returns:
        Query id -> query, in file order.

    Raises:
        FormatError: if a line is invalid, an id is repeated, or the file is empty.
    """
    path = Path(path)
    return _by_id(path, iter_queries(path, tsv=not plain_name(path).endswith(".jsonl")), "a query")


def _by_id(path: Path, found: Iterator[tuple[int, Any]], expected: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    first_seen: dict[str, int] = {}
    for number, value in found:
        earlier = first_seen.setdefault(value.id, number)
        if earlier != number:
            raise format_error(path, number, f"id {shown(value.id)} repeated (first on line {earlier})", "each id once")
        values[value.id] = value
    if not values:
        raise FormatError(f"{path}: no lines; expected {expected} on each line")
    return values
