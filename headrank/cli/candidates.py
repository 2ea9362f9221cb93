"""Read the candidate lists of a run file, with texts, without holding the passages in memory.

The run and the passages that it names are put into a temporary SQLite database, because lines of a query need not be
contiguous and passages come in any order.
"""

import itertools
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrank.data.parsing import format_error, plain_name, shown
from headrank.data.records import iter_passages, iter_queries
from headrank.data.trec import run_lines
from headrank.errors import FormatError
from headrank.ranking import CandidateList, Passage, Query

_ROWS = 10_000  # inserted together
_FIRST = 3  # ids named in an error


@dataclass(frozen=True, slots=True)
class Files:
    """The input files of a run to rerank."""

    queries: Path
    docs: Path
    run: Path


@contextmanager
def run_database(files: Files, depth: int | None) -> Iterator["RunDatabase"]:
    """Read the files into a temporary database: the top `depth` passages of each query, with their texts.

    Raises `FormatError`, with file and line, for a malformed line, and for a query or passage of the run without text.
    """
    with tempfile.TemporaryDirectory(prefix="headrank-") as folder, RunDatabase(Path(folder) / "run.sqlite") as found:
        found.read(files, depth)
        yield found


class RunDatabase:
    """A run and its texts on disk. Use `run_database`."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path)
        self._db.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;"
            "CREATE TABLE queries (number INTEGER PRIMARY KEY, id TEXT UNIQUE, text TEXT, line INTEGER);"
            "CREATE TABLE candidates (query INTEGER, passage TEXT, score REAL, rank INTEGER, line INTEGER);"
            "CREATE TABLE passages (id TEXT PRIMARY KEY, text TEXT, line INTEGER) WITHOUT ROWID;"
        )

    def __enter__(self) -> "RunDatabase":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def __len__(self) -> int:
        return self._db.execute("SELECT count(*) FROM queries").fetchone()[0]

    def read(self, files: Files, depth: int | None) -> None:
        """Fill the database with the top `depth` passages of each query (None: all), see `run_database`."""
        self._read_run(files.run, depth)
        tsv = not plain_name(files.queries).endswith(".jsonl")
        self._add_texts("queries", files.queries, iter_queries(files.queries, tsv=tsv))
        self._refuse_missing("SELECT id FROM queries WHERE text IS NULL", files, "queries", files.queries)
        self._add_texts("passages", files.docs, iter_passages(files.docs))
        self._refuse_missing("SELECT id FROM passages WHERE text IS NULL", files, "passages", files.docs)

    def _add_texts(self, table: str, path: Path, found: Iterable[tuple[int, Query | Passage]]) -> None:
        update = f"UPDATE {table} SET text = ?, line = ? WHERE id = ? AND text IS NULL"
        for line, one in found:
            if self._db.execute(update, (one.text, line, one.id)).rowcount:
                continue
            earlier = self._db.execute(f"SELECT line FROM {table} WHERE id = ?", (one.id,)).fetchone()
            if earlier is not None:
                twice = f"id {shown(one.id)} repeated (first on line {earlier[0]})"
                raise format_error(path, line, twice, "each id once")

    def _read_run(self, path: Path, depth: int | None) -> None:
        numbers: dict[str, int] = {}
        for rows in _parts(run_lines(path)):
            for _, query, *_ in rows:
                numbers.setdefault(query, len(numbers))
            self._db.executemany(
                "INSERT INTO candidates VALUES (?, ?, ?, ?, ?)",
                [(numbers[query], passage, score, rank, line) for line, query, passage, rank, score in rows],
            )
        self._db.executemany("INSERT INTO queries (number, id) VALUES (?, ?)", [(n, q) for q, n in numbers.items()])
        self._db.execute("CREATE INDEX by_query ON candidates (query, score DESC, rank, line)")
        again = self._db.execute(
            "SELECT max(line), passage FROM candidates GROUP BY query, passage HAVING count(*) > 1 LIMIT 1"
        ).fetchone()
        if again is not None:
            raise format_error(path, again[0], f"passage {shown(again[1])} repeated", "each passage once per query")
        if depth is not None:
            self._db.execute(
                "DELETE FROM candidates WHERE rowid IN (SELECT rowid FROM (SELECT rowid, row_number() OVER "
                "(PARTITION BY query ORDER BY score DESC, rank, line) AS place FROM candidates) WHERE place > ?)",
                (depth,),
            )
        self._db.execute("INSERT INTO passages (id) SELECT DISTINCT passage FROM candidates")

    def _refuse_missing(self, select: str, files: Files, what: str, where: Path) -> None:
        missing = [row[0] for row in self._db.execute(f"{select} LIMIT {_FIRST + 1}")]
        if missing:
            count = self._db.execute(f"SELECT count(*) FROM ({select})").fetchone()[0]
            some = ", ".join(map(shown, missing[:_FIRST])) + (", ..." if count > _FIRST else "")
            raise FormatError(f"{files.run}: {count} {what} are not in {where}: {some}; expected the text of each")

    def lists(self, start: int = 0) -> Iterator[CandidateList]:
        """Yield the candidate lists in the order in which the run first names their queries.

        The first `start` lists are left out.
        """
        queries = self._db.execute("SELECT number, id, text FROM queries WHERE number >= ? ORDER BY number", (start,))
        for number, query_id, text in queries:
            rows = self._db.execute(
                "SELECT passage, passages.text, score FROM candidates JOIN passages ON passages.id = passage "
                "WHERE query = ? ORDER BY score DESC, rank, candidates.line",
                (number,),
            ).fetchall()
            passages = tuple(Passage(passage, text) for passage, text, _ in rows)
            yield CandidateList(Query(query_id, text), passages, tuple(score for *_, score in rows))


def _parts(rows: Iterable) -> Iterator[tuple]:
    rows = iter(rows)
    while part := tuple(itertools.islice(rows, _ROWS)):
        yield part
