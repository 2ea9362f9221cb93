"""Head scores of a batch of prompts, in one pass over the passages and all tails.

The tails (query, null query) of a list are packed side by side behind its prefix (the passages), each blind to the
others and each at the positions it would have had alone. Prefixes of different lengths are padded on the right: under a
causal mask padding that comes later is never seen, so the prefix needs no mask (and no mask of size tokens x tokens) at
all. The tails get a mask of tails x keys. There is no cache: keys and values of a layer are gone when the next one
begins, and activation checkpointing, which computes layers a second time, finds nothing that it could add to twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headrank.model.backbone import Backbone
from headrank.model.deepest import Deepest
from headrank.model.head_scores import Head, HeadScores, TokenScores, by_layer, check_heads
from headrank.model.prompt import Prompt, Span
from headrank.model.readout import ReadRequest


def read_head_scores(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    heads: Sequence[Head],
    *,
    query_rows: str = "query",
    per_token: bool = False,
) -> list[HeadScores]:
    """The head scores of each prompt, exact as of separate passes; gradients flow where they are enabled.

    `query_rows` is `query`, `instruction` or `suffix` (see `Tail.rows`). Only layers up to the deepest head are
    computed. Raises `ValueError` for heads outside of the backbone's depth, prompts with differing numbers of tails,
    and prompts longer than the model's context.
    """
    read = read_several_rows(backbone, prompts, heads, kinds=[query_rows], per_token=per_token)
    return [by_kind[query_rows] for by_kind in read]


def read_several_rows(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    heads: Sequence[Head],
    *,
    kinds: Sequence[str],
    per_token: bool = False,
) -> list[dict[str, HeadScores]]:
    """As `read_head_scores`, for several choices of query rows in one pass: for each prompt, kind -> head scores."""
    if not prompts:
        return []
    check_heads(heads, layers=backbone.depth, heads_per_layer=backbone.heads_per_layer)
    batch = _Batch.collate(prompts, kinds, backbone)
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
    backbone.model(
        input_ids=torch.cat([batch.prefix_ids, batch.tail_ids], dim=1),
        position_ids=torch.cat([batch.prefix_positions(), batch.tail_positions], dim=1),
        attention_mask=batch.masks(backbone),
        use_cache=False,
        headrank_request=request,
        headrank_kernel=backbone.settings.kernel,
        headrank_tail=batch.tail_ids.shape[1],
        headrank_deepest=deepest,
    )
    readings = request.gather()  # [B, U = kinds x tails, heads in layer order, passages or keys]
    read = [Head(layer, head) for layer, members in layers.items() for head in members]
    order = torch.tensor([read.index(Head(*head)) for head in heads], device=readings.device)
    readings = readings[:, :, order]
    tails = readings.shape[1] // len(kinds)
    return [
        {
            kind: _split(prompt, readings[i, n * tails : (n + 1) * tails], tuple(heads), per_token)
            for n, kind in enumerate(kinds)
        }
        for i, prompt in enumerate(prompts)
    ]


def _split(prompt: Prompt, reading: Tensor, heads: tuple[Head, ...], per_token: bool) -> HeadScores:
    N = len(prompt.passages)
    lengths = torch.tensor([span.end - span.start for span in prompt.passages], dtype=torch.long)
    tokens = None
    if per_token:
        numbers = torch.repeat_interleave(torch.arange(N), lengths)
        positions = [p for span in prompt.passages for p in range(span.start, span.end)]
        picked = reading[:, :, torch.tensor(positions, dtype=torch.long, device=reading.device)]
        tokens = TokenScores(picked[0], picked[1] if len(picked) > 1 else None, numbers)
        member = (numbers[:, None] == torch.arange(N)).to(picked)
        with torch.autocast(picked.device.type, enabled=False):  # sums of fp32 readings stay fp32
            sums = picked @ member
    else:
        sums = reading[:, :, :N]
    return HeadScores(heads, sums[0], sums[1] if len(prompt.tails) > 1 else None, lengths, tokens)


@dataclass(frozen=True, slots=True)
class _Batch:
    prefix_ids: Int[Tensor, "B P"]
    prefix_lengths: Int[Tensor, " B"]
    tail_ids: Int[Tensor, "B Q"]
    tail_numbers: Int[Tensor, "B Q"]  # which tail a token belongs to; padding has numbers of its own, below 0
    tail_positions: Int[Tensor, "B Q"]
    rows: Int[Tensor, "B R"]
    row_weights: Float[Tensor, "B U R"]
    segments: Int[Tensor, "B S"]
    passages: int

    @classmethod
    def collate(cls, prompts: Sequence[Prompt], kinds: Sequence[str], backbone: Backbone) -> "_Batch":
        tails = {len(prompt.tails) for prompt in prompts}
        if len(tails) != 1:
            raise ValueError(f"prompts of one batch have {sorted(tails)} tails, wanted the same number in each")
        per_kind, B = tails.pop(), len(prompts)
        U = per_kind * len(kinds)
        P = max(len(prompt.prefix) for prompt in prompts)
        Q = max(sum(len(tail.ids) for tail in prompt.tails) for prompt in prompts)
        # Rows of all kinds of a tail overlap: each is read once, from the first to the last that any kind wants.
        spans = [[[tail.rows(kind) for kind in kinds] for tail in prompt.tails] for prompt in prompts]
        unions = [[Span(min(s.start for s in tail), max(s.end for s in tail)) for tail in row] for row in spans]
        R = max(sum(span.end - span.start for span in row) for row in unions)
        prefix_ids = torch.zeros(B, P, dtype=torch.long)
        tail_ids = torch.zeros(B, Q, dtype=torch.long)
        numbers = -1 - torch.arange(Q).repeat(B, 1)  # every padding token is a tail of its own: it attends itself only
        positions = torch.zeros(B, Q, dtype=torch.long)
        rows = torch.zeros(B, R, dtype=torch.long)
        weights = torch.zeros(B, U, R)
        segments = torch.full((B, P + Q), -1, dtype=torch.long)
        for b, prompt in enumerate(prompts):
            length = len(prompt.prefix)
            _check_length(prompt, backbone)
            prefix_ids[b, :length] = torch.tensor(prompt.prefix)
            for n, span in enumerate(prompt.passages):
                segments[b, span.start : span.end] = n
            at = row = 0
            for u, tail in enumerate(prompt.tails):
                size = len(tail.ids)
                tail_ids[b, at : at + size] = torch.tensor(tail.ids)
                numbers[b, at : at + size] = u
                positions[b, at : at + size] = torch.arange(length, length + size)
                first, last = unions[b][u]
                rows[b, row : row + last - first] = torch.arange(at + first, at + last)
                for k, (start, end) in enumerate(spans[b][u]):
                    offset = row + start - first
                    weights[b, k * per_kind + u, offset : offset + end - start] = 1 / (end - start)
                at, row = at + size, row + last - first
        lengths = torch.tensor([len(prompt.prefix) for prompt in prompts])
        N = max(len(prompt.passages) for prompt in prompts)
        device = backbone.device
        return cls(
            prefix_ids.to(device),
            lengths.to(device),
            tail_ids.to(device),
            numbers.to(device),
            positions.to(device),
            rows.to(device),
            weights.to(device),
            segments.to(device),
            N,
        )

    def prefix_positions(self) -> Int[Tensor, "B P"]:
        """The positions of the prefixes' tokens."""
        B, P = self.prefix_ids.shape
        return torch.arange(P, device=self.prefix_ids.device).expand(B, P)

    def tail_mask(self, window: int | None) -> Bool[Tensor, "B 1 Q S"]:
        """True where a tail token may attend: its list's real prefix, and its own tail up to itself."""
        B, P = self.prefix_ids.shape
        Q = self.tail_ids.shape[1]
        prefix_positions = self.prefix_positions()
        real = prefix_positions < self.prefix_lengths[:, None]
        to_prefix = real[:, None, :].expand(B, Q, P) & (self.tail_numbers >= 0)[:, :, None]
        same = self.tail_numbers[:, :, None] == self.tail_numbers[:, None, :]
        to_tail = same & torch.ones(Q, Q, dtype=torch.bool, device=same.device).tril()
        mask = torch.cat([to_prefix, to_tail], dim=2)
        if window is not None:
            keys = torch.cat([prefix_positions, self.tail_positions], dim=1)
            mask &= self.tail_positions[:, :, None] - keys[:, None, :] < window
        return mask[:, None]

    def pass_mask(self, window: int | None) -> Bool[Tensor, "B 1 T S"]:
        """The tails' mask for one pass over prefix and tails; with the prefix's rows where a window cuts into them."""
        B, P = self.prefix_ids.shape
        tails = self.tail_mask(window)
        if window is None or window >= P:
            return tails  # Q rows: the prefix is plainly causal
        i = torch.arange(P, device=tails.device)[:, None]
        j = torch.arange(tails.shape[-1], device=tails.device)
        return torch.cat([((j <= i) & (i - j < window)).expand(B, 1, -1, -1), tails], dim=2)

    def masks(self, backbone: Backbone) -> Tensor | dict[str, Tensor]:
        """The mask as the model wants it: one for all layers, or one per kind of layer where it has several."""
        make = self.pass_mask
        config = backbone.config
        window = getattr(config, "sliding_window", None)
        kinds = set(getattr(config, "layer_types", None) or ())
        unknown = kinds - {"full_attention", "sliding_attention"}
        if unknown:
            raise ValueError(f"{backbone.settings.model}: layers of kind {sorted(unknown)} have no readable attention")
        if kinds <= {"full_attention"} and not (window and not kinds):
            return make(None)
        if len(kinds) <= 1:
            return make(window)
        return {"full_attention": make(None), "sliding_attention": make(window)}


def _check_length(prompt: Prompt, backbone: Backbone) -> None:
    longest = len(prompt.prefix) + max(len(tail.ids) for tail in prompt.tails)
    limit = backbone.max_tokens
    if limit is not None and longest > limit:
        raise ValueError(
            f"a prompt of {len(prompt.passages)} passages has {longest} tokens, the model's context holds {limit}: "
            "lower the depth of the candidate lists or prompt.max_passage_tokens"
        )
