"""Read a collection from a local folder, with file names of this package or of BEIR (see `folder.py`).

    docs.jsonl | corpus.jsonl              {"doc_id": ..., "text": ...}, optionally "title" (see `records.py`)
    queries.tsv | queries.jsonl            id TAB text | {"query_id": ..., "text": ...}
    qrels.txt | qrels/<split>.tsv          TREC's or BEIR's judgements (see `qrels.py`)
    *.trec, *.run, *.txt                   any number of first-stage runs, optional

All files are read strictly and completely into memory. Nothing is written to the folder.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from headrank.data.collections import InMemoryCollection
from headrank.data.folder import DOCS, QUERIES, qrels_file, required_file, run_files
from headrank.data.parsing import shown
from headrank.data.qrels import read_qrels
from headrank.data.records import read_passages, read_queries
from headrank.errors import FormatError
from headrank.logs import counts_text

_log = logging.getLogger(__name__)

_FIRST_IDS = 3  # ids named in an error before "and N more"


def _some(ids: Iterable[str]) -> str:
    """The first few ids and the number of the others, as text."""
    ids = list(ids)
    more = f" and {len(ids) - _FIRST_IDS} more" if len(ids) > _FIRST_IDS else ""
    return ", ".join(shown(text) for text in ids[:_FIRST_IDS]) + more


class LocalCollection(InMemoryCollection):
    """The collection in a folder, read and checked at construction.

    Judgements of passages that are not in the folder are kept, because metrics need them if the folder holds the full
    qrels but only a pool of passages. The log reports their number.

    Args:
        folder: the folder.
        split: the split of BEIR's `qrels/`; None: `test`, or the only one.
        qrels: a file of judgements that replaces the folder's; None: the folder's.
        name: the collection's name; None: the folder.
        title: whether a passage's title is put before its text.
        judged: whether judgements are read; if not, the folder needs none.
        passages_only: read no queries and judgements, which the folder need not have.

    Raises:
        FormatError: if a file cannot be read or is malformed, a file exists in two forms, or no query has a judgement.
        MissingFileError: if the folder or a file does not exist.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        split: str | None = None,
        qrels: str | Path | None = None,
        name: str | None = None,
        title: bool = True,
        judged: bool = True,
        passages_only: bool = False,
    ) -> None:
        self.path = Path(folder)
        super().__init__(name or str(folder))
        self._passages = read_passages(required_file(self.path, DOCS), title=title)
        self._queries, self._qrels = {}, {}
        if passages_only:
            _log.info("%s: %d passages", self.name, len(self._passages))
            return
        self._queries = read_queries(required_file(self.path, QUERIES))
        qrels_path = None if not judged else qrels_file(self.path, split) if qrels is None else Path(qrels)
        self._qrels = {} if qrels_path is None else read_qrels(qrels_path)
        if qrels_path is not None and not self.judged_queries:
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
                (unknown_passages, "judgements of unknown passages"),
                (unknown_queries, "judged queries that are not in the queries file"),
            ),
        )

    @property
    def runs(self) -> Mapping[str, Path]:
        """The first-stage run files in the folder by name, such as `bm25` for `bm25.trec`."""
        return run_files(self.path)
