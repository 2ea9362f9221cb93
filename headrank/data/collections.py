"""Define the interface of a collection: queries, judgements, passages and fingerprints (hashes of the content).

`local.py` implements it for a local folder, `request_collection.py` for a file of requests and `irds.py` for an
ir_datasets id; `open_collection.py` chooses between them by name. `first_stage.py` retrieves in a collection.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path

from headrank.ranking import Passage, Qrels, Query, Ranking


class Collection(ABC):
    """The interface of a collection: queries, judgements and passages under one name."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    @abstractmethod
    def queries(self) -> Mapping[str, Query]:
        """The queries by id, in the collection's order."""

    @property
    @abstractmethod
    def qrels(self) -> Qrels:
        """The judgements. They may name passages and queries that the collection does not contain."""

    @property
    @abstractmethod
    def passage_count(self) -> int:
        """The number of passages that `passages` yields."""

    @property
    def published_passage_count(self) -> int | None:
        """The published number of passages; None if unknown. The files are wrong if `passage_count` differs from it."""
        return None

    @abstractmethod
    def passages(self, start: int = 0) -> Iterator[Passage]:
        """Yield all passages except the first `start`, in the collection's order."""

    @abstractmethod
    def lookup(self, passage_ids: Iterable[str]) -> dict[str, Passage]:
        """Return the passages with these ids, by id. Unknown ids are absent from the result."""

    @property
    @abstractmethod
    def passages_fingerprint(self) -> str:
        """A hash of the passages alone. Files that depend only on passages, such as an index, are cached under it."""

    @property
    def runs(self) -> Mapping[str, Path]:
        """The first-stage run files of the collection by name, such as {"bm25": Path("bm25.trec")}."""
        return {}

    @property
    def has_own_lists(self) -> bool:
        """Whether the first stage `auto` uses the collection's own rankings, `scoreddocs`, as for files of requests."""
        return False

    def scoreddocs(self) -> dict[str, Ranking] | None:
        """Return the first-stage rankings that the collection itself provides, by query id; None if it has none."""
        return None

    @cached_property
    def judged_queries(self) -> tuple[Query, ...]:
        """The queries with at least one judgement, in the collection's order."""
        return tuple(query for query in self.queries.values() if self.qrels.get(query.id))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of passages, queries and judgements, which identifies the data in cache keys."""

        def parts() -> Iterator[str]:
            yield self.passages_fingerprint
            for query in self.queries.values():
                yield from ("query", query.id, query.text)
            for query_id, judged in self.qrels.items():
                yield from ("judged", query_id)
                for passage_id, grade in judged.items():
                    yield from (passage_id, str(grade))

        return fingerprint(parts())


class InMemoryCollection(Collection):
    """A collection whose queries, judgements and passages are read completely at construction."""

    _queries: dict[str, Query]
    _qrels: Qrels
    _passages: dict[str, Passage]

    @property
    def queries(self) -> Mapping[str, Query]:
        """The queries by id, in the file's order."""
        return self._queries

    @property
    def qrels(self) -> Qrels:
        """The grades of passages by query id and passage id, such as {"q1": {"d7": 2}}. Passages may be unknown."""
        return self._qrels

    @property
    def passage_count(self) -> int:
        """The number of different passages."""
        return len(self._passages)

    def passages(self, start: int = 0) -> Iterator[Passage]:
        """Iterate over the passages except the first `start`, in file order."""
        return islice(self._passages.values(), start, None)

    def lookup(self, passage_ids: Iterable[str]) -> dict[str, Passage]:
        """Return the passages with these ids, by id. Unknown ids are absent from the result."""
        return {passage_id: self._passages[passage_id] for passage_id in passage_ids if passage_id in self._passages}

    @property
    def passages_fingerprint(self) -> str:
        """A hash of every passage's id and text, in order."""
        return self._passages_fingerprint

    @cached_property
    def _passages_fingerprint(self) -> str:
        return fingerprint(part for passage in self._passages.values() for part in (passage.id, passage.text))


def fingerprint(parts: Iterable[str]) -> str:
    """Hash a sequence of texts to 128 bits, in hexadecimal. `("ab", "c")` and `("a", "bc")` have different hashes."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")  # some public collections contain lone surrogates
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]
