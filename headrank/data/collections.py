"""What a collection is to the rest of the project: queries, judgements, passages by id, and what identifies it.

`local.py` makes one of a folder, `irds.py` of an ir_datasets id, `sources.py` decides which a name means. Candidate
lists (`first_stage.py`) are drawn from it.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from headrank.data.trec import read_run
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
        """The judgements. They may name passages and queries that the collection does not hold."""

    @property
    @abstractmethod
    def passage_count(self) -> int:
        """How many passages `passages` gives."""

    @property
    def published_passage_count(self) -> int | None:
        """How many passages the published collection has, if that is known: other numbers mean other files."""
        return None

    @abstractmethod
    def passages(self, start: int = 0) -> Iterator[Passage]:
        """All passages but the first `start`, in the collection's own order."""

    @abstractmethod
    def lookup(self, passage_ids: Iterable[str]) -> dict[str, Passage]:
        """The passages of these ids. Ids that the collection does not hold are absent from the result."""

    @property
    @abstractmethod
    def passages_fingerprint(self) -> str:
        """Identifies the passages, for what is computed from them alone (an index)."""

    @property
    def runs(self) -> Mapping[str, Path]:
        """The run files that came with the collection: name -> path."""
        return {}

    def read_run(self, path: Path) -> dict[str, Ranking]:
        """Read a run file over this collection's passages (see `trec.read_run`)."""
        return read_run(path)

    def scoreddocs(self) -> dict[str, Ranking] | None:
        """The first-stage lists that the collection's publisher gives with it, or None if there are none."""
        return None

    @cached_property
    def judged_queries(self) -> tuple[Query, ...]:
        """The queries with at least one judgement, in the collection's order."""
        return tuple(query for query in self.queries.values() if self.qrels.get(query.id))

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the whole content: passages, queries and judgements. Part of artifact keys."""

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
    """A hash (128 bits in hexadecimal) of a sequence of texts. Where one ends and the next begins counts."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")  # some public collections hold lone surrogates
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]
