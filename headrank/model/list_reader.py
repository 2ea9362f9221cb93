"""Candidate lists in, head scores out: context orders, batches, and the way back to the caller's order."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch

from headrank.model.backbone import Backbone
from headrank.model.head_scores import Head, HeadScores
from headrank.model.prompt import Prompt, PromptBuilder
from headrank.model.reading import read_head_scores
from headrank.ranking import CandidateList


class Order(StrEnum):
    """In which order the model reads the candidates."""

    FIRST_STAGE = "first_stage"
    REVERSED = "reversed"  # best last, as ICR does
    SHUFFLED = "shuffled"  # seeded, each query its own permutation
    BOTH = "both"  # the mean of z over first-stage and reversed order


def context_order(order: Order, size: int, *, seed: int, query_id: str) -> tuple[int, ...]:
    """The candidates' indices in the order in which the model reads them.

    Shuffles depend on seed and query id alone, so that a list has the same order in every run and on every machine.
    Raises `ValueError` for `both`, which is two orders.
    """
    if order == Order.FIRST_STAGE:
        return tuple(range(size))
    if order == Order.REVERSED:
        return tuple(reversed(range(size)))
    if order == Order.SHUFFLED:
        indices = list(range(size))
        random.Random(f"{seed}:{query_id}").shuffle(indices)
        return tuple(indices)
    raise ValueError("order 'both' is two context orders: first_stage and reversed")


@dataclass(frozen=True, slots=True)
class Reading:
    """One list read once: which list (`number` in the caller's sequence), in which order, and the head scores.

    `order[c]` is the candidate at context position c; the columns of `scores` are in context order.
    """

    number: int
    order: tuple[int, ...]
    scores: HeadScores
    prompt: Prompt

    def first_stage_order(self) -> HeadScores:
        """The head scores with columns in first-stage order."""
        where = {candidate: position for position, candidate in enumerate(self.order)}
        return self.scores.reorder([where[candidate] for candidate in range(len(self.order))])


@dataclass(frozen=True, slots=True)
class ListReader:
    """Reads head scores of candidate lists with one backbone and one prompt wording."""

    backbone: Backbone
    prompts: PromptBuilder
    query_rows: str = "query"
    batch_size: int = 1  # lists per forward pass

    def read(
        self,
        lists: Sequence[CandidateList],
        orders: Sequence[tuple[int, ...]],
        heads: Sequence[Head],
        *,
        with_null: bool,
        per_token: bool = False,
    ) -> Iterator[Reading]:
        """One reading for each list and its order, as they are done: lists of like length together, longest first.

        Lists without candidates have nothing to read and are passed over. No gradients.
        """
        texts = [
            (item.query.text, [item.passages[i].text for i in order]) for item, order in zip(lists, orders, strict=True)
        ]
        numbers = [number for number, (_, passages) in enumerate(texts) if passages]
        built = self.prompts.build_many([texts[number] for number in numbers], with_null=with_null)
        queue = sorted(zip(numbers, built, strict=True), key=lambda pair: -len(pair[1].prefix))
        for start in range(0, len(queue), self.batch_size):
            batch = queue[start : start + self.batch_size]
            with torch.inference_mode():
                read = read_head_scores(
                    self.backbone,
                    [prompt for _, prompt in batch],
                    heads,
                    query_rows=self.query_rows,
                    per_token=per_token,
                )
            for (number, prompt), scores in zip(batch, read, strict=True):
                yield Reading(number, tuple(orders[number]), scores, prompt)
