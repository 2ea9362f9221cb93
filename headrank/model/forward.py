"""Head scores of a batch of prompts, from one pass over the passages and all tails, or over the tails alone.

The batch holds padded token ids, positions, rows to read, passages and masks. The tails (query, null query) of a list
follow its prefix (the passages). Tails do not attend to each other, and each has the positions it would have alone.
Prefixes of different lengths are padded on the right: a causal mask hides later padding, so the prefix needs no mask.
The tails get a mask of tails x keys. No cache is used: keys and values of a layer are freed before the next layer, and
activation checkpointing can recompute a layer without changing a cache.

If passages are blocks with stored states (`states`), the pass covers the tails alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headrank.model.backbone import Backbone, masks_by_kind
from headrank.model.block_attention import BlockGroup, group_blocks
from headrank.model.blocks.states import CACHE_ARGUMENT, AssembledCache, BlockStates, StateShape
from headrank.model.blocks.visibility import may_attend, prefix_groups, tail_groups
from headrank.model.head_scores import Head, HeadScores, TokenScores, by_layer, check_heads
from headrank.model.last_layer import Deepest
from headrank.model.prompt import Prompt, Span
from headrank.model.readout import ReadRequest


def read_head_scores(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    heads: Sequence[Head],
    *,
    query_rows: str = "query",
    per_token: bool = False,
    states: Sequence[Sequence[BlockStates]] | None = None,
) -> list[HeadScores]:
    """The head scores of each query of each prompt, equal to those of separate passes. Differentiable.

    `query_rows` is one of `ROWS` (see `Tail.rows`). Only layers up to the deepest head are computed. `states` holds
    each prompt's opening and blocks in these heads' `StateShape`; then only the tails are computed, and no gradient
    reaches the passages.

    Raises `ValueError` for heads outside of the backbone's depth and for prompts longer than the model's context.
    """
    read = read_several_rows(backbone, prompts, heads, kinds=[query_rows], per_token=per_token, states=states)
    return [by_kind[query_rows] for by_kind in read]


def read_several_rows(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    heads: Sequence[Head],
    *,
    kinds: Sequence[str],
    per_token: bool = False,
    states: Sequence[Sequence[BlockStates]] | None = None,
) -> list[dict[str, HeadScores]]:
    """`read_head_scores` for several kinds of query rows in one pass. Returns for each query kind -> head scores."""
    if not prompts:
        return []
    check_heads(heads, layers=backbone.depth, heads_per_layer=backbone.heads_per_layer)
    batch = Batch.collate(prompts, kinds, backbone)
    layers = by_layer(heads)
    request = ReadRequest(
        heads=layers,
        rows=batch.rows,
        row_weights=batch.row_weights,
        segments=batch.segments,
        passages=batch.passages,
        per_token=per_token,
    )
    deepest = None
    if not backbone.settings.whole_deepest:
        deepest = Deepest(max(layers), tuple(layers[max(layers)]))
    if states is None:
        inputs = {
            "input_ids": torch.cat([batch.prefix_ids, batch.tail_ids], dim=1),
            "position_ids": torch.cat([batch.prefix_positions, batch.tail_positions], dim=1),
            "attention_mask": batch.masks(backbone),
            "use_cache": False,
            "headrank_tail": batch.tail_ids.shape[1],
            "headrank_blocks": batch.blocks,
        }
    else:
        inputs = {
            "input_ids": batch.tail_ids,
            "position_ids": batch.tail_positions,
            "attention_mask": batch.masks(backbone, with_prefix=False),
            "use_cache": True,
            CACHE_ARGUMENT: AssembledCache(StateShape.of(backbone, heads), states),
        }
    kernel = backbone.settings.kernel
    backbone.model(**inputs, headrank_request=request, headrank_kernel=kernel, headrank_deepest=deepest)
    readings = request.gather()  # [B, U = kinds x tails, heads in layer order, passages or keys]
    read = [Head(layer, head) for layer, members in layers.items() for head in members]
    order = torch.tensor([read.index(Head(*head)) for head in heads], device=readings.device)
    readings = readings[:, :, order]
    tails = readings.shape[1] // len(kinds)
    split = [
        [
            _split(prompt, readings[i, n * tails :][: len(prompt.tails)], tuple(heads), per_token)
            for n in range(len(kinds))
        ]
        for i, prompt in enumerate(prompts)
    ]
    return [dict(zip(kinds, of_query, strict=True)) for by_kind in split for of_query in zip(*by_kind, strict=True)]


def _split(prompt: Prompt, reading: Tensor, heads: tuple[Head, ...], per_token: bool) -> list[HeadScores]:
    """The head scores of each of a prompt's queries, from the readings of its tails."""
    N = len(prompt.passages)
    lengths = torch.tensor([span.end - span.start for span in prompt.passages], dtype=torch.long)
    numbers = torch.repeat_interleave(torch.arange(N), lengths)
    picked = None
    if per_token:
        positions = [p for span in prompt.passages for p in range(span.start, span.end)]
        picked = reading[:, :, torch.tensor(positions, dtype=torch.long, device=reading.device)]
        member = (numbers[:, None] == torch.arange(N)).to(picked)
        with torch.autocast(picked.device.type, enabled=False):  # sums of fp32 readings stay fp32
            sums = picked @ member
    else:
        sums = reading[:, :, :N]

    def null(of_tails: Tensor) -> Tensor | None:
        return of_tails[prompt.queries] if len(prompt.tails) > prompt.queries else None

    return [
        HeadScores(
            heads,
            sums[query],
            null(sums),
            lengths,
            None if picked is None else TokenScores(picked[query], null(picked), numbers),
        )
        for query in range(prompt.queries)
    ]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of prompts as tensors for the model and the readout.

    Shapes: B lists, P prefix tokens and Q tail tokens with padding, R query-token rows, U tails of all kinds of rows,
    S = P + Q keys.
    """

    prefix_ids: Int[Tensor, "B P"]
    prefix_positions: Int[Tensor, "B P"]
    tail_ids: Int[Tensor, "B Q"]
    tail_positions: Int[Tensor, "B Q"]
    groups: Int[Tensor, "B S"]  # the group of each token, see `visibility.py`
    rows: Int[Tensor, "B R"]
    row_weights: Float[Tensor, "B U R"]
    segments: Int[Tensor, "B S"]
    passages: int
    blocks: tuple[BlockGroup, ...] | None  # None: the prefixes are plainly causal

    @classmethod
    def collate(cls, prompts: Sequence[Prompt], kinds: Sequence[str], backbone: Backbone) -> "Batch":
        """Collate prompts, with the rows of each kind (see `Tail.rows`), on the backbone's device.

        Raises `ValueError` if only some of the prompts have blocks, or if one is longer than the model's context.
        """
        if len({bool(prompt.blocks) for prompt in prompts}) != 1:
            raise ValueError("some prompts of the batch have blocks and some do not; expected all or none")
        per_kind, B = max(len(prompt.tails) for prompt in prompts), len(prompts)
        U = per_kind * len(kinds)
        P = max(len(prompt.prefix) for prompt in prompts)
        Q = max(sum(len(tail.ids) for tail in prompt.tails) for prompt in prompts)
        # The rows of several kinds overlap: each row is read once, from the first to the last row of any kind.
        spans = [[[tail.rows(kind) for kind in kinds] for tail in prompt.tails] for prompt in prompts]
        unions = [[Span(min(s.start for s in tail), max(s.end for s in tail)) for tail in row] for row in spans]
        R = max(sum(span.end - span.start for span in row) for row in unions)
        prefix_ids = torch.zeros(B, P, dtype=torch.long)
        prefix_positions = torch.arange(P).repeat(B, 1)
        tail_ids = torch.zeros(B, Q, dtype=torch.long)
        positions = torch.zeros(B, Q, dtype=torch.long)
        rows = torch.zeros(B, R, dtype=torch.long)
        weights = torch.zeros(B, U, R)
        segments = torch.full((B, P + Q), -1, dtype=torch.long)
        for b, prompt in enumerate(prompts):
            length = len(prompt.prefix)
            _check_length(prompt, backbone)
            prefix_ids[b, :length] = torch.tensor(prompt.prefix)
            for start, end in prompt.blocks:
                prefix_positions[b, start:end] = torch.arange(prompt.opening, prompt.opening + end - start)
            for n, span in enumerate(prompt.passages):
                segments[b, span.start : span.end] = n
            at = row = 0
            for u, tail in enumerate(prompt.tails):
                size = len(tail.ids)
                tail_ids[b, at : at + size] = torch.tensor(tail.ids)
                positions[b, at : at + size] = torch.arange(prompt.tail_position, prompt.tail_position + size)
                first, last = unions[b][u]
                rows[b, row : row + last - first] = torch.arange(at + first, at + last)
                for k, (start, end) in enumerate(spans[b][u]):
                    offset = row + start - first
                    weights[b, k * per_kind + u, offset : offset + end - start] = 1 / (end - start)
                at, row = at + size, row + last - first
        groups = [
            torch.cat([prefix_groups(prompt, P), tail_groups([len(tail.ids) for tail in prompt.tails], Q)])
            for prompt in prompts
        ]
        N = max(len(prompt.passages) for prompt in prompts)
        device = backbone.device
        return cls(
            prefix_ids.to(device),
            prefix_positions.to(device),
            tail_ids.to(device),
            positions.to(device),
            torch.stack(groups).to(device),
            rows.to(device),
            weights.to(device),
            segments.to(device),
            N,
            group_blocks(prompts, device) if prompts[0].blocks else None,
        )

    def tail_mask(self, window: int | None) -> Bool[Tensor, "B 1 Q S"]:
        """True for the keys a tail token attends to: its list's prefix without padding, and its own tail causally."""
        P = self.prefix_ids.shape[1]
        mask = may_attend(self.groups[:, P:, None], self.groups[:, None]).tril(P)
        if window is not None:
            keys = torch.cat([self.prefix_positions, self.tail_positions], dim=1)
            mask &= self.tail_positions[:, :, None] - keys[:, None, :] < window
        return mask[:, None]

    def pass_mask(self, window: int | None) -> Bool[Tensor, "B 1 T S"]:
        """The mask for one pass over prefix and tails: the tails' rows, and the prefix's if a window cuts into it."""
        B, P = self.prefix_ids.shape
        tails = self.tail_mask(window)
        if window is None or window >= P or self.blocks is not None:
            return tails  # Q rows: the prefix is causal, or the block attention applies the window
        i = torch.arange(P, device=tails.device)[:, None]
        j = torch.arange(tails.shape[-1], device=tails.device)
        return torch.cat([((j <= i) & (i - j < window)).expand(B, 1, -1, -1), tails], dim=2)

    def masks(self, backbone: Backbone, *, with_prefix: bool = True) -> Tensor | dict[str, Tensor]:
        """The mask in the form the model expects (see `masks_by_kind`), for a pass over prefix and tails or, without
        `with_prefix`, over the tails alone."""
        return masks_by_kind(backbone, self.pass_mask if with_prefix else self.tail_mask)


def _check_length(prompt: Prompt, backbone: Backbone) -> None:
    longest = prompt.positions
    limit = backbone.max_tokens
    if limit is not None and longest > limit:
        raise ValueError(
            f"a prompt of {len(prompt.passages)} passages needs {longest} positions, the model has {limit}: lower "
            "the depth of the candidate lists or prompt.max_passage_tokens"
        )
