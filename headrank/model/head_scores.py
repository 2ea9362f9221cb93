"""Define heads and head scores of a candidate list, which selection, calibration and the scorer share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    """Head scores of each passage token, in context order.

    query: the attention from the query's rows (their mean) to each token.
    null: the same for the null query; None if it was not read.
    passage: the context position of each token's passage.
    """

    query: Float[Tensor, "heads tokens"]
    null: Float[Tensor, "heads tokens"] | None
    passage: Int[Tensor, " tokens"]


@dataclass(frozen=True, slots=True)
class HeadScores:
    """The head scores of one candidate list, passages in context order (the order in which the model reads them).

    `query[h, i]` is s_h(i): the attention mass from the query's rows (their mean) to passage i, in [0, 1]. `null` is
    the same for the null query, None if it was not read. `lengths` holds the number of tokens of each passage in the
    prompt. `tokens` holds the scores per passage token, None if they were not read. `rows[r, h, i]` is the attention
    mass from one row (query token) of the query; `query` is the mean over the rows. None if they were not read.
    """

    heads: tuple[Head, ...]
    query: Float[Tensor, "heads docs"]
    null: Float[Tensor, "heads docs"] | None
    lengths: Int[Tensor, " docs"]
    tokens: TokenScores | None = None
    rows: Float[Tensor, "rows heads docs"] | None = None

    def reorder(self, order: Sequence[int]) -> "HeadScores":
        """Reorder the passages: column i of the result is column order[i]. Scores per token and row are dropped."""
        index = torch.tensor(list(order), dtype=torch.long)
        null = None if self.null is None else self.null[:, index]
        return HeadScores(self.heads, self.query[:, index], null, self.lengths[index])

    def cpu(self) -> "HeadScores":
        """Copy all scores to the CPU."""
        tokens = self.tokens
        if tokens is not None:
            tokens = TokenScores(tokens.query.cpu(), _cpu(tokens.null), tokens.passage.cpu())
        return replace(self, query=self.query.cpu(), null=_cpu(self.null), tokens=tokens, rows=_cpu(self.rows))

    def pick(self, heads: Sequence[Head]) -> "HeadScores":
        """Return the scores of these heads, in this order. Raises `KeyError` for a head that was not read."""
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
        rows = None if self.rows is None else self.rows[:, index]
        return HeadScores(tuple(heads), self.query[index], null, self.lengths, tokens, rows)


def _cpu(scores: Tensor | None) -> Tensor | None:
    return None if scores is None else scores.cpu()


def all_heads(layers: int, heads_per_layer: int) -> tuple[Head, ...]:
    """Return every head of the first `layers` layers, layer by layer."""
    return tuple(Head(layer, head) for layer in range(layers) for head in range(heads_per_layer))


def by_layer(heads: Sequence[Head]) -> dict[int, list[int]]:
    """Group heads as layer -> heads, both ascending, as a read request expects."""
    layers: dict[int, list[int]] = {}
    for layer, head in sorted(set(heads)):
        layers.setdefault(layer, []).append(head)
    return layers


def check_heads(heads: Sequence[Head], *, layers: int, heads_per_layer: int) -> None:
    """Raise `ModelError` if no head is given, a head is given twice, or a head is outside of the model.

    layers: the number of layers of the model. heads_per_layer: the number of query heads of a layer.
    """
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
