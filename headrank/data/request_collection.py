"""Read a collection from a file of requests, which are queries with their candidates (`requests.py`).

The candidates are the collection's passages, and their order is its first stage. An experiment on requests needs
neither the whole collection nor an index.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from headrank.data.collections import InMemoryCollection
from headrank.data.irds import DataUnavailableError
from headrank.data.parsing import format_error, shown
from headrank.data.requests import Request, read_requests
from headrank.errors import FormatError
from headrank.logs import counts_text
from headrank.ranking import Passage, Qrels, Query, Ranking

_log = logging.getLogger(__name__)


class RequestsCollection(InMemoryCollection):
    """The collection in a file of requests, read and checked at construction.

    Args:
        path: the file, `.jsonl` or `.jsonl.gz`.
        qrels: a function that returns the judgements; None: the candidates' grades are the judgements. If the function
            raises `DataUnavailableError` and the file holds grades, the grades are used, with a warning.
        name: the collection's name; None: the path.
        title: whether a passage's title is put before its text.
        judged: whether judgements are read; if not, none are needed.

    Raises:
        FormatError: if a line is invalid, a query id is repeated, a passage has two texts, or no query has a judgement.
        MissingFileError: if the file does not exist.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        qrels: Callable[[], Qrels] | None = None,
        name: str | None = None,
        title: bool = True,
        judged: bool = True,
    ) -> None:
        self.path = Path(path)
        super().__init__(name or str(path))
        self._queries: dict[str, Query] = {}
        self._passages: dict[str, Passage] = {}
        self._lists: dict[str, Ranking] = {}
        grades: dict[str, dict[str, int]] = {}
        for request in read_requests(self.path, title=title):
            self._add(request)
            grades[request.query.id] = {
                one.passage.id: one.grade for one in request.candidates if one.grade is not None
            }
        self._qrels = self._judgements(qrels, grades) if judged else {}
        if judged and not self.judged_queries:
            ids = [shown(next(iter(found), None)) for found in (self._queries, self._qrels)]
            raise FormatError(
                f"{self.path}: none of its {len(self._queries)} queries (the first: {ids[0]}) is judged; expected "
                + (
                    "candidates with `grade`, or the key qrels of the data set: a qrels file or a collection"
                    if qrels is None
                    else f"the query ids of its qrels (the first: {ids[1]})"
                )
            )
        unknown = sum(1 for query_id in self._qrels if query_id not in self._queries)
        _log.info(
            "%s: %d requests (%d judged), %d passages%s",
            *(self.name, len(self._queries), len(self.judged_queries), len(self._passages)),
            counts_text((unknown, "judged queries without a request, which no mean counts")),
        )

    def _add(self, request: Request) -> None:
        query, item = request.query, request.candidate_list
        if query.id in self._queries:
            raise format_error(self.path, request.line, f"query id {shown(query.id)} repeated", "each query once")
        self._queries[query.id] = query
        for passage in item.passages:
            if self._passages.setdefault(passage.id, passage) != passage:
                found = f"passage {shown(passage.id)} with another text than on an earlier line"
                raise format_error(self.path, request.line, found, "one text for each passage id")
        scores = item.first_stage_scores or [float(n) for n in range(len(item), 0, -1)]
        self._lists[query.id] = Ranking.from_scores(query.id, item.passage_ids, scores)

    def _judgements(self, qrels: Callable[[], Qrels] | None, grades: Qrels) -> Qrels:
        if qrels is None:
            return grades
        try:
            return qrels()
        except DataUnavailableError as error:
            if not any(grades.values()):
                raise
            _log.warning(
                "%s: the grades of the candidates are its only judgements, since others cannot be read: %s",
                *(self.name, str(error).splitlines()[0]),
            )
            return grades

    @property
    def has_own_lists(self) -> bool:
        """Always True: the first stage `auto` is the candidates of the requests."""
        return True

    def scoreddocs(self) -> dict[str, Ranking]:
        """Return the ranking of each request's candidates, by query id.

        n candidates without scores get the scores n, n - 1, ..., 1.
        """
        return self._lists
