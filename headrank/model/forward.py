"""Compute head scores of a batch of prompts in one pass over the passages and all tails, or over the tails alone.

A prompt is a prefix with the passages, followed by tails: the query's and the null query's. Tails do not attend to each
other, and each has the positions it would have alone. Prefixes of different lengths are padded on the right: a causal
mask hides later padding, so the prefix needs no mask. The tails get a mask of tails x keys. No cache is used: keys and
values of a layer are freed before the next layer, and activation checkpointing can recompute a layer without changing a
cache.

If the key and value states of the passages are stored (`states`), the pass covers the tails alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from headrank.model.backbone import Backbone
from headrank.model.blocks.states import CACHE_ARGUMENT, AssembledCache, BlockStates, StateShape
from headrank.model.collate import Batch
from headrank.model.head_scores import Head, HeadScores, TokenScores, by_layer, check_heads
from headrank.model.last_layer import Deepest
from headrank.model.prompt import Prompt
from headrank.model.readout import ReadRequest


def read_head_scores(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    heads: Sequence[Head],
    *,
    query_rows: str = "query",
    per_token: bool = False,
    per_row: bool = False,
    states: Sequence[Sequence[BlockStates]] | None = None,
) -> list[HeadScores]:
    """Read the head scores of every query of every prompt.

    The scores are differentiable, and equal to those of separate passes. Only layers up to the deepest head are
    computed.

    Args:
        backbone: the model.
        prompts: the prompts of one batch.
        heads: the heads to read.
        query_rows: whose attention is averaged, one of `ROWS` (see `Tail.rows`).
        per_token: whether the scores of each passage token are returned as well.
        per_row: whether the scores of each row (query token) are returned as well.
        states: for each prompt the stored states of its opening and its blocks, for the `StateShape` of these heads.
            Then only the tails are computed, and no gradient reaches the passages. None: everything is computed.

    Returns:
        One `HeadScores` per query, prompt by prompt.

    Raises:
        ValueError: a head is outside of the backbone, or a prompt is longer than the model's context.
    """
    read = read_several_rows(
        backbone, prompts, heads, kinds=[query_rows], per_token=per_token, per_row=per_row, states=states
    )
    return [by_kind[query_rows] for by_kind in read]


def read_several_rows(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    heads: Sequence[Head],
    *,
    kinds: Sequence[str],
    per_token: bool = False,
    per_row: bool = False,
    states: Sequence[Sequence[BlockStates]] | None = None,
) -> list[dict[str, HeadScores]]:
    """Read the head scores for several kinds of query rows in one pass, as `read_head_scores` does for one kind.

    Args:
        backbone: the model.
        prompts: the prompts of one batch.
        heads: the heads to read.
        kinds: the kinds of query rows, each one of `ROWS` (see `Tail.rows`).
        per_token: as in `read_head_scores`.
        per_row: as in `read_head_scores`, for a single kind of rows.
        states: as in `read_head_scores`.

    Returns:
        For each query, prompt by prompt, a dict such as {"query": head scores, "suffix": head scores}. The list is
        empty without prompts.
    """
    if not prompts:
        return []
    if per_row and len(kinds) > 1:
        raise ValueError(f"per_row reads one kind of rows, not {', '.join(kinds)}")
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
        per_row=per_row,
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
    rows = request.gather_rows()[:, :, order] if per_row else None
    tails = readings.shape[1] // len(kinds)
    split = [
        [
            _split(
                prompt,
                readings[i, n * tails :][: len(prompt.tails)],
                None if rows is None else _split_rows(prompt, rows[i], kind),
                tuple(heads),
                per_token,
            )
            for n, kind in enumerate(kinds)
        ]
        for i, prompt in enumerate(prompts)
    ]
    return [dict(zip(kinds, of_query, strict=True)) for by_kind in split for of_query in zip(*by_kind, strict=True)]


def _split_rows(prompt: Prompt, rows: Tensor, kind: str) -> list[Tensor]:
    """The readings of the rows of each of a prompt's queries: [rows, heads, docs]."""
    counts = [span.end - span.start for span in (tail.rows(kind) for tail in prompt.tails)]
    return [part[..., : len(prompt.passages)] for part in rows[: sum(counts)].split(counts)][: prompt.queries]


def _split(
    prompt: Prompt, reading: Tensor, rows: list[Tensor] | None, heads: tuple[Head, ...], per_token: bool
) -> list[HeadScores]:
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
            None if rows is None else rows[query],
        )
        for query in range(prompt.queries)
    ]
