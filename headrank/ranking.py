"""Define the data types of reranking (query, passage, candidate list, ranking), context orders and the middle zone.

All are frozen dataclasses; this module needs neither torch nor files. A candidate list is always in first-stage order,
best first. The order in which a model reads the candidates, the context order, is a separate permutation. The middle
zone is the middle half of the context.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias, runtime_checkable

Qrels: TypeAlias = Mapping[str, Mapping[str, int]]
"""Judgements: query id -> passage id -> grade (an integer; 0 and below are not relevant)."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query: its id in qrels and runs, and its text."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage: its id and its text. The text may be empty; such a passage is scored like any other."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class CandidateList:
    """A query and its candidates in first-stage order, best first.

    `first_stage_scores` are the first stage's scores in the same order, or None.

    Raises `ValueError` if a passage id is repeated or the number of scores differs from that of the passages.
    """

    query: Query
    passages: tuple[Passage, ...]
    first_stage_scores: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for passage in self.passages:
            if passage.id in seen:
                raise ValueError(f"query {self.query.id!r}: passage {passage.id!r} appears twice in the candidate list")
            seen.add(passage.id)
        scores = self.first_stage_scores
        if scores is not None and len(scores) != len(self.passages):
            raise ValueError(
                f"query {self.query.id!r}: {len(scores)} first-stage scores for {len(self.passages)} passages"
            )

    def __len__(self) -> int:
        return len(self.passages)

    @property
    def passage_ids(self) -> tuple[str, ...]:
        """The candidates' ids in first-stage order."""
        return tuple(passage.id for passage in self.passages)

    def top(self, depth: int) -> "CandidateList":
        """Return a list of the first `depth` candidates. Raises `ValueError` if `depth` is below 1."""
        if depth < 1:
            raise ValueError(f"query {self.query.id!r}: depth {depth}, expected at least 1")
        return self.subset(range(min(depth, len(self))))

    def subset(self, kept: Sequence[int]) -> "CandidateList":
        """Return a list of the candidates with these indices, in the order given."""
        scores = self.first_stage_scores
        return CandidateList(
            self.query,
            tuple(self.passages[i] for i in kept),
            None if scores is None else tuple(scores[i] for i in kept),
        )


@dataclass(frozen=True, slots=True)
class RankedPassage:
    """One line of a ranking: passage id, score (higher is better) and rank (from 1)."""

    id: str
    score: float
    rank: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """The ranked candidates of one query, best first, ranks 1, 2, 3, ... without gaps."""

    query_id: str
    results: tuple[RankedPassage, ...]

    def __len__(self) -> int:
        return len(self.results)

    @property
    def passage_ids(self) -> tuple[str, ...]:
        """The ids, best first."""
        return tuple(result.id for result in self.results)

    @property
    def scores(self) -> tuple[float, ...]:
        """The scores, best first (never increasing)."""
        return tuple(result.score for result in self.results)

    @classmethod
    def from_scores(cls, query_id: str, passage_ids: Sequence[str], scores: Sequence[float]) -> "Ranking":
        """Rank passages by score, highest first. Equal scores keep the order given, usually the first stage's.

        query_id: the id of the query. passage_ids: the ids of the passages. scores: one score per passage.

        Raises `ValueError` for a NaN or infinite score, different lengths, or a repeated id.
        """
        if len(passage_ids) != len(scores):
            raise ValueError(f"query {query_id!r}: {len(scores)} scores for {len(passage_ids)} passages")
        if len(set(passage_ids)) != len(passage_ids):
            raise ValueError(f"query {query_id!r}: a passage id appears twice among {len(passage_ids)}")
        for passage_id, score in zip(passage_ids, scores, strict=True):
            if not math.isfinite(score):
                raise ValueError(f"query {query_id!r}, passage {passage_id!r}: score {score}, expected a finite number")
        order = sorted(range(len(scores)), key=lambda i: -scores[i])  # stable: ties keep the given order
        return cls(query_id, tuple(RankedPassage(passage_ids[i], float(scores[i]), r + 1) for r, i in enumerate(order)))


@dataclass(frozen=True, slots=True)
class ContextScores:
    """The scores of one candidate list, in the order in which the model read the passages (context order).

    query_id: the query.
    passage_ids: [docs], in context order.
    scores: [docs], the passage scores z (higher is better); None if the system gives only ranks.
    masses: [docs], a non-negative weight per passage, from which the entropy of the middle zone is computed: the
        uncalibrated attention mass summed over the selected heads, or a first stage's positive scores; None if unknown.

    Raises `ValueError` if the lengths differ.
    """

    query_id: str
    passage_ids: tuple[str, ...]
    scores: tuple[float, ...] | None
    masses: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.passage_ids)
        if any(numbers is not None and len(numbers) != n for numbers in (self.scores, self.masses)):
            raise ValueError(f"query {self.query_id!r}: expected {n} scores and masses, one per passage")


class Order(StrEnum):
    """The names of the built-in context orders."""

    FIRST_STAGE = "first_stage"
    REVERSED = "reversed"  # best last, as ICR does
    SHUFFLED = "shuffled"  # seeded; each query has a different permutation; several are averaged (`shuffles`)
    BOTH = "both"  # the mean of z over first-stage and reversed order


@runtime_checkable
class ContextOrder(Protocol):
    """The interface of a custom context order.

    Implement it as a frozen dataclass, and give an instance as `ScorerSettings.order`. `name` is its name in messages.
    """

    name: str

    def __call__(self, item: CandidateList, seed: int) -> Sequence[int]:
        """Return the candidates' indices in the order in which the model reads them.

        The result must depend on the arguments only. item: the candidate list. seed: the scorer's setting `seed`.
        """
        ...


def context_orders(
    order: str | ContextOrder, item: CandidateList, seed: int, shuffles: int = 1
) -> tuple[tuple[int, ...], ...]:
    """Compute the orders in which the model reads a candidate list.

    Args:
        order: a name of `Order`, or a user-defined `ContextOrder`.
        item: the candidate list.
        seed: the seed of `shuffled`, also passed to a `ContextOrder`.
        shuffles: the number of orders of `shuffled`, with the seeds `seed`, `seed` + 1, ...; no other order uses it.

    Returns:
        Permutations of the candidates' indices: two for `both`, `shuffles` for `shuffled`, otherwise one.

    Raises:
        ValueError: if the name is unknown, or a `ContextOrder` does not return a permutation.
    """
    indices = tuple(range(len(item)))
    if order == Order.BOTH:
        return indices, indices[::-1]
    if order == Order.SHUFFLED:
        return tuple(shuffled_order(item, seed + i) for i in range(shuffles))
    if isinstance(order, str):
        return (indices[::-1] if Order(order) == Order.REVERSED else indices,)
    found = tuple(map(int, order(item, seed)))
    if sorted(found) != list(indices):
        raise ValueError(
            f"query {item.query.id!r}: context order {order.name} returned {str(found)[:80]}, expected a permutation "
            f"of 0 to {len(item) - 1}"
        )
    return (found,)


def shuffled_order(item: CandidateList, key: int | str) -> tuple[int, ...]:
    """Return the candidates' indices in a shuffled order.

    key: the seed. The result depends only on `key`, the query's text and the number of candidates. A list therefore has
    the same order in every run, on every machine and in every batch.
    """
    return tuple(shuffled_indices(len(item), f"{key}:{item.query.text}"))


def middle_zone(size: int) -> slice:
    """Return the positions of the middle zone of a context of `size` passages, as a slice.

    They are the positions p with size/4 <= p < 3 size/4.
    """
    return slice(-(-size // 4), -(-3 * size // 4))  # rounded up


def shuffled_indices(size: int, key: str) -> list[int]:
    """Return the numbers 0 to size - 1, shuffled with `key` as the seed. The result is the same on every machine."""
    indices = list(range(size))
    random.Random(key.encode("utf-8", "surrogatepass")).shuffle(indices)
    return indices


Run: TypeAlias = Mapping[str, Ranking]
"""The rankings of a benchmark: query id -> ranking."""
