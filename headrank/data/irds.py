"""Open the collection of an ir_datasets id.

ir_datasets downloads its files to `$IR_DATASETS_HOME`, which it reads when it is first imported; this module therefore
imports it late. Files can also be placed there by hand: errors name the missing file and its path. ir_datasets has no
file locks: two processes that build the same store both append to it, and it then contains every passage twice. Its
files are therefore prepared under a lock in that folder.
"""

import difflib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property
from itertools import chain, islice
from typing import Any

from headrank.data.collections import Collection, fingerprint
from headrank.data.parsing import shown, text_fault
from headrank.errors import ConfigError, FormatError, HeadRankError
from headrank.io.cache import cache_lock
from headrank.logs import quiet_ir_datasets
from headrank.ranking import Passage, Qrels, Query, Ranking

_log = logging.getLogger(__name__)

_SUGGESTIONS = 5
_FINGERPRINTED = 1000  # passages in the fingerprint: distinguish versions of a collection, seconds on a slow disk
_LOCAL_FOLDER = "Or give a local folder (docs.jsonl, queries.tsv, qrels.txt): a path that begins with / or ."
# BEIR data sets without an ir_datasets id, because BEIR's authors may not redistribute them
_LICENCE_BOUND = {
    "beir/robust04": "TREC disks 4 and 5 need an agreement with NIST (https://trec.nist.gov/data/cd45/index.html); "
    "with the files placed, use disks45/nocr/trec-robust-2004",
    "beir/trec-news": "the Washington Post collection must be requested from NIST "
    "(https://trec.nist.gov/data/wapost/); with the files placed, see wapo/v2/trec-news-2019",
    "beir/signal1m": "Signal-1M must be requested from its publisher "
    "(https://research.signal-ai.com/datasets/signal1m.html)",
    "beir/bioasq": "BioASQ needs a registration with its organisers (http://bioasq.org)",
}


class UnknownCollectionError(ConfigError):
    """The ir_datasets id is unknown, or lacks passages, queries or judgements. The message lists close matches."""


class DataUnavailableError(HeadRankError, RuntimeError):
    """ir_datasets could not read a collection's files. The message names the missing file and where to place it."""


def _without_suffix(dataset_id: str, ids: list[str]) -> list[str]:
    """The parents of the id that are known ids: `beir/arguana` for `beir/arguana/test`."""
    parts = dataset_id.split("/")
    return [parent for n in range(len(parts) - 1, 1, -1) if (parent := "/".join(parts[:n])) in ids]


def _unknown(dataset_id: str, ids: list[str]) -> UnknownCollectionError:
    message = [f"{shown(dataset_id)} is not an ir_datasets id."]
    licence = next((text for key, text in _LICENCE_BOUND.items() if f"{dataset_id}/".startswith(f"{key}/")), None)
    if licence:
        message.append(f"It requires a licence: {licence}.")
    close = _without_suffix(dataset_id, ids) + difflib.get_close_matches(dataset_id, ids, n=_SUGGESTIONS)
    if close:
        message.append(f"Close matches: {', '.join(dict.fromkeys(close))}.")
    return UnknownCollectionError(" ".join([*message, _LOCAL_FOLDER]))


def _failed_download(error: BaseException) -> Any | None:
    """The ir_datasets `Download` in whose frame the error was raised; exceptions do not name the file."""
    from ir_datasets.util import Download

    found = None
    trace = error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, Download):
            found = owner
        trace = trace.tb_next
    return found


@contextmanager
def _preparing() -> Iterator[None]:
    """Let one process at a time download, unpack and build in `$IR_DATASETS_HOME`.

    A read-only folder needs no lock, because ir_datasets cannot build anything in it.
    """
    from ir_datasets.util import home_path

    with cache_lock(home_path(), "headrank") if os.access(home_path(), os.W_OK) else nullcontext():
        yield


@contextmanager
def _reading(dataset_id: str, what: str) -> Iterator[None]:
    """Turn any exception of ir_datasets inside the block into a `DataUnavailableError` that explains the fix."""
    from ir_datasets.util import home_path

    messages: list[str] = []
    listener = logging.Handler(logging.INFO)
    listener.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("ir_datasets")  # it only logs instructions and data usage agreements
    logger.addHandler(listener)
    try:
        yield
    except FormatError:
        raise
    except Exception as error:
        cause = str(error)
        message = [f"{dataset_id}: cannot read its {what} ({type(error).__name__}: {cause[:300]})"]
        download = _failed_download(error)
        if download is not None:
            urls = [url for mirror in download.mirrors if (url := getattr(mirror, "url", None))]
            if urls:
                message.append(f"missing file: {' or '.join(urls)}")
            path = getattr(download, "_cache_path", None)
            if path is None and download.expected_md5:
                path = home_path() / "downloads" / download.expected_md5
            if path is not None:
                message.append(f"place the file here: {path}")
            message.append(f"($IR_DATASETS_HOME is {home_path()}; it is read when ir_datasets is first imported)")
            if download.dua:  # logged only once per process
                message.append(f"ir_datasets says: {download.dua}")
        noise = ("download error", "Download failed", "If you have a local copy", "Opening ", "[")
        message += [f"ir_datasets says: {text}" for text in messages if not text.startswith(noise)]
        raise DataUnavailableError("\n  ".join(dict.fromkeys(message))) from error
    finally:
        logger.removeHandler(listener)


def _text_of(record: Any, *, title: bool, what: str) -> str:
    """The text of a passage or query: ir_datasets' default text (usually title and text), or without `title` the body.

    Surrounding whitespace is removed ("<title> <text>" begins with a space if the title is empty). Lone surrogates,
    which some public files contain and tokenizers reject, become U+FFFD.
    """
    for field in ("default_text", "text", "body")[0 if title else 1 :]:
        if hasattr(record, field):
            value = getattr(record, field)
            text = str(value() if callable(value) else value).strip()
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if text_fault(text) else text
    raise FormatError(
        f"{what} of type {type(record).__name__} have the fields {', '.join(record._fields)}; expected a text field. "
        "Write them to a local folder with the text that you need"
    )


class IrDatasetsCollection(Collection):
    """The collection of an ir_datasets id with passages, queries and judgements. Files are read on first access.

    Args:
        dataset_id: the ir_datasets id.
        title: whether a passage's title is put before its text.
        judged, passages_only: whether judgements are needed; whether not even queries are.

    Raises:
        UnknownCollectionError: at construction, if the id is unknown or lacks passages, queries or judgements.
        DataUnavailableError: on access, if a file is missing and cannot be downloaded.
    """

    def __init__(
        self, dataset_id: str, *, title: bool = True, judged: bool = True, passages_only: bool = False
    ) -> None:
        import ir_datasets

        quiet_ir_datasets()
        super().__init__(dataset_id)
        self._title, self._judged = title, judged
        try:
            self._dataset = ir_datasets.load(dataset_id)
        except KeyError:
            raise _unknown(dataset_id, list(ir_datasets.registry)) from None
        parts = ("docs", "queries", "qrels")[: 1 if passages_only else 3 if judged else 2]
        missing = [part for part in parts if not self._dataset.has(part)]
        if missing:
            children = [
                other
                for other in ir_datasets.registry
                if other.startswith(f"{dataset_id}/") and all(ir_datasets.load(other).has(part) for part in parts)
            ]
            hint = f" Use one of {', '.join(children)}." if children else ""
            raise UnknownCollectionError(
                f"{shown(dataset_id)} has no {' and no '.join(missing)}; expected {' and '.join(parts)}.{hint}"
            )

    @property
    def queries(self) -> Mapping[str, Query]:
        """The queries by id, in the data set's order."""
        return self._queries

    @cached_property
    def _queries(self) -> Mapping[str, Query]:
        queries: dict[str, Query] = {}
        with _preparing(), _reading(self.name, "queries"):
            for record in self._dataset.queries_iter():
                query = Query(record.query_id, _text_of(record, title=True, what="queries"))
                if queries.setdefault(query.id, query) != query:
                    raise FormatError(
                        f"{self.name}: expected one text per query, found two for query {shown(query.id)}"
                    )
        return queries

    @property
    def qrels(self) -> Qrels:
        """The judgements, empty with `judged=False`. Of several grades of a passage (subtopics) the highest counts."""
        return self._qrels if self._judged else {}

    @cached_property
    def _qrels(self) -> Qrels:
        qrels: dict[str, dict[str, int]] = {}
        repeated = 0
        with _preparing(), _reading(self.name, "judgements"):
            for record in self._dataset.qrels_iter():
                judged = qrels.setdefault(record.query_id, {})
                repeated += record.doc_id in judged
                grade = int(record.relevance)
                judged[record.doc_id] = max(grade, judged.get(record.doc_id, grade))
        if repeated:
            _log.warning("%s: %d repeated judgements; the highest grade counts", self.name, repeated)
        return qrels

    @property
    def passage_count(self) -> int:
        """The number of passages, from ir_datasets if it is known there, otherwise counted by reading them."""
        return self._passage_count

    @cached_property
    def _passage_count(self) -> int:
        with _preparing(), _reading(self.name, "passages"):
            count = self._dataset.docs_count()
            return sum(1 for _ in self._dataset.docs_iter()) if count is None else count

    @property
    def published_passage_count(self) -> int | None:
        """The number of passages in ir_datasets' metadata; None if it has none."""
        return self._dataset.metadata().get("docs", {}).get("count")

    def passages(self, start: int = 0) -> Iterator[Passage]:
        """Yield all passages except the first `start` (which are read and skipped), in the data set's order."""
        with _reading(self.name, "passages"):
            with _preparing():
                records = self._dataset.docs_iter()
                first = next(records, None)
            for record in islice(chain(() if first is None else (first,), records), start, None):
                yield self._passage(record)

    def lookup(self, passage_ids: Iterable[str]) -> dict[str, Passage]:
        """Return the passages by id; unknown ids are absent. The first call may build ir_datasets' passage store."""
        with _preparing(), _reading(self.name, "passages"):
            records = self._dataset.docs_store().get_many(list(passage_ids))
            return {passage_id: self._passage(record) for passage_id, record in records.items()}

    def _passage(self, record: Any) -> Passage:
        return Passage(record.doc_id, _text_of(record, title=self._title, what="passages"))

    @property
    def passages_fingerprint(self) -> str:
        """A hash of the ir_datasets id of the passages, the ir_datasets version and the first 1,000 passages.

        It does not cover all passages: the content of an id is fixed, and reading millions is too slow. Nor does it
        cover their number: ir_datasets reports the expected one before it builds its store, and then the actual one.
        """
        return self._passages_fingerprint

    @cached_property
    def _passages_fingerprint(self) -> str:
        import ir_datasets

        parts = [
            f"ir_datasets {ir_datasets.__version__} {ir_datasets.docs_parent_id(self.name)}",
            f"title {self._title}",
        ]
        for passage in islice(self.passages(), _FINGERPRINTED):
            parts += [passage.id, passage.text]
        return fingerprint(parts)

    def scoreddocs(self) -> dict[str, Ranking] | None:
        """Return the first-stage rankings that ir_datasets has, ties in file order, by query id; None if it has none.

        Raises:
            FormatError: if all scores are equal (MS MARCO's top1000 files are unordered sets), a score is not a finite
                number, or a list contains a passage twice.
        """
        if not self._dataset.has("scoreddocs"):
            return None
        lists: dict[str, tuple[list[str], list[float]]] = {}
        with _preparing(), _reading(self.name, "scoreddocs"):
            for record in self._dataset.scoreddocs_iter():
                ids, scores = lists.setdefault(record.query_id, ([], []))
                ids.append(record.doc_id)
                scores.append(record.score)
        several = [scores for _, scores in lists.values() if len(scores) > 1]
        if several and all(len(set(scores)) == 1 for scores in several):
            raise FormatError(
                f"{self.name}: expected scoreddocs with a ranking, found equal scores (candidates in no order). Use "
                "first_stage bm25 or run"
            )
        try:
            return {query_id: Ranking.from_scores(query_id, ids, scores) for query_id, (ids, scores) in lists.items()}
        except ValueError as error:
            raise FormatError(f"{self.name}: its scoreddocs: {error}") from None
