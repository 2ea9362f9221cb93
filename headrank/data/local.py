"""The collection in a local folder.

    docs.jsonl                    {"doc_id": ..., "text": ...}, optionally "title" (other names of keys: see records.py)
    queries.tsv | queries.jsonl   id TAB text | {"query_id": ..., "text": ...}
    qrels.txt                     TREC qrels (see trec.py)
    *.trec                        any number of first-stage runs, optional

All files are read strictly and completely into memory. Nothing is written to the folder.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path

from headrank.data.collections import Collection, fingerprint
from headrank.data.parsing import opened, shown
from headrank.data.records import read_passages, read_queries
from headrank.data.trec import read_qrels, read_run
from headrank.errors import FormatError, MissingFileError
from headrank.logs import counts_text
from headrank.ranking import Passage, Qrels, Query, Ranking

_log = logging.getLogger(__name__)

_FIRST_IDS = 3  # ids named in an error before "and N more"


def _some(ids: Iterable[str]) -> str:
    """The first few ids and the number of the others, as text."""
    ids = list(ids)
    more = f" and {len(ids) - _FIRST_IDS} more" if len(ids) > _FIRST_IDS else ""
    return ", ".join(shown(text) for text in ids[:_FIRST_IDS]) + more


def run_files(folder: Path) -> list[Path]:
    """The folder's run files, `*.trec`, sorted by name."""
    return sorted(path for path in folder.glob("*.trec") if not path.name.startswith("."))


class LocalCollection(Collection):
    """The collection in a folder, read and checked at construction.

    Judgements of passages that are not in `docs.jsonl` are kept, because metrics need them if the folder holds the full
    qrels but only a pool of passages. The log reports their number.

    Raises:
        FormatError: if a file cannot be read or is malformed, both query files exist, or no query has a judgement.
        MissingFileError: if the folder or a file does not exist.
    """

    def __init__(self, folder: str | Path, *, name: str | None = None, title: bool = True) -> None:
        self.path = Path(folder)
        super().__init__(name or str(folder))
        self._passages = read_passages(self._file("docs.jsonl"), title=title)
        self._queries = read_queries(self._file("queries.tsv", "queries.jsonl"))
        qrels_path = self._file("qrels.txt")
        self._qrels = read_qrels(qrels_path)
        if not self.judged_queries:
            raise FormatError(
                f"{qrels_path}: judgements of {len(self._qrels)} queries ({_some(self._qrels)}), none of the "
                f"{len(self._queries)} in the queries file ({_some(self._queries)}); expected the same query ids"
            )
        unknown_passages = sum(1 for judged in self._qrels.values() for p in judged if p not in self._passages)
        unknown_queries = sum(1 for query_id in self._qrels if query_id not in self._queries)
        _log.info(
            "%s: %d passages, %d queries (%d judged)%s",
            *(self.name, len(self._passages), len(self._queries), len(self.judged_queries)),
            counts_text(
                (unknown_passages, "judgements of passages that are not in docs.jsonl"),
                (unknown_queries, "queries of qrels.txt that are not in the queries file"),
            ),
        )

    def _file(self, *names: str) -> Path:
        """The path of the only file of `names` that exists."""
        if not self.path.is_dir():
            files = "docs.jsonl, queries.tsv and qrels.txt"
            if self.path.exists():
                raise FormatError(f"{self.path}: is not a folder; expected a folder with {files}")
            raise MissingFileError(f"{self.path}: no such folder; expected a folder with {files}")
        with opened(self.path):
            existing = sorted(entry.name for entry in self.path.iterdir())
        found = [self.path / name for name in names if name in existing]
        if not found:
            raise MissingFileError(
                f"{self.path}: no {' or '.join(names)}; the folder holds: {', '.join(existing) or 'nothing'}"
            )
        if len(found) > 1:
            raise FormatError(f"{self.path}: both {' and '.join(names)}; expected one of them")
        if not found[0].is_file():
            kind = "a folder" if found[0].is_dir() else "a broken link" if found[0].is_symlink() else "no regular file"
            raise FormatError(f"{found[0]}: is {kind}; expected a file")
        return found[0]

    @property
    def queries(self) -> Mapping[str, Query]:
        """Query id -> query, in the file's order."""
        return self._queries

    @property
    def qrels(self) -> Qrels:
        """The judgements in `qrels.txt`."""
        return self._qrels

    @property
    def passage_count(self) -> int:
        """How many passages `docs.jsonl` holds."""
        return len(self._passages)

    def passages(self, start: int = 0) -> Iterator[Passage]:
        """The passages but the first `start`, in the file's order."""
        return islice(self._passages.values(), start, None)

    def lookup(self, passage_ids: Iterable[str]) -> dict[str, Passage]:
        """The passages of these ids; unknown ids are absent."""
        return {passage_id: self._passages[passage_id] for passage_id in passage_ids if passage_id in self._passages}

    @property
    def passages_fingerprint(self) -> str:
        """A hash of every passage's id and text, in order."""
        return self._passages_fingerprint

    @cached_property
    def _passages_fingerprint(self) -> str:
        return fingerprint(part for passage in self._passages.values() for part in (passage.id, passage.text))

    @property
    def runs(self) -> Mapping[str, Path]:
        """The folder's `*.trec` files by name without the extension."""
        return {path.stem: path for path in run_files(self.path)}

    def read_run(self, path: Path) -> dict[str, Ranking]:
        """Read a run file. Raises `FormatError` if it is malformed or names passages that are not in `docs.jsonl`."""
        run = read_run(path)
        missing = {p: None for ranking in run.values() for p in ranking.passage_ids if p not in self._passages}
        if missing:
            raise FormatError(
                f"{path}: {len(missing)} passages are not in {self.path / 'docs.jsonl'}: {_some(missing)}; expected "
                "all passages of the run there. Is the run of another collection, or is docs.jsonl incomplete?"
            )
        return run
