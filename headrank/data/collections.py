"""The interface of a collection: queries, judgements, passages by id, and fingerprints.

`local.py` implements it for a local folder, `request_collection.py` for a file of requests and `irds.py` for an
ir_datasets id; `open_collection.py` chooses between them by name. `first_stage.py` retrieves in a collection.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from headrank.ranking import Passage, Qrels, Query, Ranking


class Collection(ABC):
    """Queries, judgements and passages under one name."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    @abstractmethod
    def queries(self) -> Mapping[str, Query]:
        """Query id -> query, in the collection's own order."""

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
        """The number of passages of the published collection, or None if unknown. Another count means other files."""
        return None

    @abstractmethod
    def passages(self, start: int = 0) -> Iterator[Passage]:
        """Yield all passages except the first `start`, in the collection's order."""

    @abstractmethod
    def lookup(self, passage_ids: Iterable[str]) -> dict[str, Passage]:
        """Passage id -> passage for these ids. Unknown ids are absent from the result."""

    @property
    @abstractmethod
    def passages_fingerprint(self) -> str:
        """A hash of the passages, for caches that depend on the passages only (an index)."""

    @property
    def runs(self) -> Mapping[str, Path]:
        """The run files of the collection: name -> path."""
        return {}

    @property
    def has_own_lists(self) -> bool:
        """Whether the collection is made of candidate lists, its `scoreddocs`: they are its first stage `auto`."""
        return False

    def scoreddocs(self) -> dict[str, Ranking] | None:
        """The published first-stage lists of the collection, or None if it has none."""
        return None

    @cached_property
    def judged_queries(self) -> tuple[Query, ...]:
        """The queries with at least one judgement, in the collection's order."""
        return tuple(query for query in self.queries.values() if self.qrels.get(query.id))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of passages, queries and judgements. It is part of artifact keys."""

        def parts() -> Iterator[str]:
            yield self.passages_fingerprint
            for query in self.queries.values():
                yield from ("query", query.id, query.text)
            for query_id, judged in self.qrels.items():
                yield from ("judged", query_id)
                for passage_id, grade in judged.items():
                    yield from (passage_id, str(grade))

        return fingerprint(parts())


def fingerprint(parts: Iterable[str]) -> str:
    """A hash (128 bits in hexadecimal) of a sequence of texts. Other boundaries between texts give another hash."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")  # some public collections contain lone surrogates
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]
