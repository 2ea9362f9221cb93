"""Heads and their scores for a list: the data shared by selection, calibration and the scorer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headrank.errors import ModelError


class Head(NamedTuple):
    """An attention head: its layer and its index among the query heads of that layer, both from 0."""

    layer: int
    head: int


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Head scores per passage token, in context order; `passage` is the index of each token's passage."""

    query: Float[Tensor, "heads tokens"]
    null: Float[Tensor, "heads tokens"] | None
    passage: Int[Tensor, " tokens"]


@dataclass(frozen=True, slots=True)
class HeadScores:
    """The head scores of one list, passages in context order (the order in which the model reads them).

    `query[h, i]` is s_h(i): the attention mass from the query's rows (their mean) to passage i, in [0, 1]. `null` is
    the same for the null query, None if it was not read. `lengths` holds the number of tokens of each passage in the
    prompt. `tokens` holds the scores per passage token, None if they were not read.
    """

    heads: tuple[Head, ...]
    query: Float[Tensor, "heads docs"]
    null: Float[Tensor, "heads docs"] | None
    lengths: Int[Tensor, " docs"]
    tokens: TokenScores | None = None

    def reorder(self, order: Sequence[int]) -> "HeadScores":
        """Reorder the passages: column i of the result is column order[i]. Token scores are dropped."""
        index = torch.tensor(list(order), dtype=torch.long)
        null = None if self.null is None else self.null[:, index]
        return HeadScores(self.heads, self.query[:, index], null, self.lengths[index])

    def pick(self, heads: Sequence[Head]) -> "HeadScores":
        """Select these heads, in this order. Raises `KeyError` for a head that was not read."""
        where = {head: i for i, head in enumerate(self.heads)}
        missing = [tuple(head) for head in heads if head not in where]
        if missing:
            raise KeyError(f"heads {missing} were not read; the reading holds {len(self.heads)} heads")
        index = torch.tensor([where[head] for head in heads], dtype=torch.long)
        tokens = self.tokens
        if tokens is not None:
            null = None if tokens.null is None else tokens.null[index]
            tokens = TokenScores(tokens.query[index], null, tokens.passage)
        null = None if self.null is None else self.null[index]
        return HeadScores(tuple(heads), self.query[index], null, self.lengths, tokens)


def all_heads(layers: int, heads_per_layer: int) -> tuple[Head, ...]:
    """Every head of the first `layers` layers, layer by layer."""
    return tuple(Head(layer, head) for layer in range(layers) for head in range(heads_per_layer))


def by_layer(heads: Sequence[Head]) -> dict[int, list[int]]:
    """Group heads as layer -> heads, both ascending, as a read request expects."""
    layers: dict[int, list[int]] = {}
    for layer, head in sorted(set(heads)):
        layers.setdefault(layer, []).append(head)
    return layers


def check_heads(heads: Sequence[Head], *, layers: int, heads_per_layer: int) -> None:
    """Raise `ModelError` if no head is given, a head is given twice, or a head is outside of the model."""
    if not heads:
        raise ModelError("no heads are given; expected at least one")
    twice = sorted({f"{head.layer}-{head.head}" for head in heads if heads.count(head) > 1})
    if twice:
        raise ModelError(f"heads {', '.join(twice)} (layer-head) are given twice")
    outside = [f"{h.layer}-{h.head}" for h in heads if not (0 <= h.layer < layers and 0 <= h.head < heads_per_layer)]
    if outside:
        raise ModelError(
            f"heads {', '.join(outside)} (layer-head) are outside of a model of {layers} layers with "
            f"{heads_per_layer} heads each"
        )
