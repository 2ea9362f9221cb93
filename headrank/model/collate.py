"""Convert prompts to a batch of tensors: padded token ids, positions, rows to read, passages and attention masks.

A prompt is a prefix with the passages, followed by tails: the query's and the null query's. Masks follow from the group
of each token: a block (a passage), a tail, or the shared tokens. A token attends causally to tokens of its own group
and to shared tokens; tail tokens also attend to the whole prefix. With full attention the whole prefix is shared; with
blocks only the opening, the tokens before the first passage, is shared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headrank.model.backbone import Backbone, masks_by_kind
from headrank.model.block_attention import BlockGroup, group_blocks
from headrank.model.prompt import Prompt, Span

SHARED = 0  # block n is group n + 1
PADDING = -1  # attends to padding and shared tokens; only padding attends to it
FIRST_TAIL = -2  # tail u is group -2 - u


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of prompts as tensors for the model and the readout.

    Shapes: B lists, P prefix tokens and Q tail tokens with padding, S = P + Q keys, R rows (query tokens to read), U
    readings per list: one for each kind of rows (see `Tail.rows`) and tail.

    rows: the positions of the rows among the Q tail tokens.
    row_weights: the weight of each row in each reading; a reading is the mean over its tail's rows.
    segments: the index of each key's passage, -1 outside of passages.
    passages: the largest number of passages of a list.
    """

    prefix_ids: Int[Tensor, "B P"]
    prefix_positions: Int[Tensor, "B P"]
    tail_ids: Int[Tensor, "B Q"]
    tail_positions: Int[Tensor, "B Q"]
    groups: Int[Tensor, "B S"]  # the group of each token
    rows: Int[Tensor, "B R"]
    row_weights: Float[Tensor, "B U R"]
    segments: Int[Tensor, "B S"]
    passages: int
    blocks: tuple[BlockGroup, ...] | None  # None: the prefixes are plainly causal

    @classmethod
    def collate(cls, prompts: Sequence[Prompt], kinds: Sequence[str], backbone: Backbone) -> "Batch":
        """Build the tensors of a batch on the backbone's device.

        Args:
            prompts: the prompts of the batch.
            kinds: the kinds of query rows to read in each tail (see `Tail.rows`).
            backbone: the model; its context limits the length of a prompt.

        Raises:
            ValueError: only some of the prompts have blocks, or a prompt is longer than the model's context.
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
        """Return the mask of the tails' tokens.

        It is True for the list's prefix without padding, and for the token itself and earlier ones of the same tail.

        window: the width of the sliding window in tokens, beyond which earlier tokens are False; None: full attention.
        """
        P = self.prefix_ids.shape[1]
        mask = may_attend(self.groups[:, P:, None], self.groups[:, None]).tril(P)
        if window is not None:
            keys = torch.cat([self.prefix_positions, self.tail_positions], dim=1)
            mask &= self.tail_positions[:, :, None] - keys[:, None, :] < window
        return mask[:, None]

    def pass_mask(self, window: int | None) -> Bool[Tensor, "B 1 T S"]:
        """Return the mask for one pass over prefix and tails.

        window: the width of the sliding window in tokens; None: full attention.

        The mask has rows only for the tails (T = Q) if the prefix needs no mask: it is causal and within the window, or
        consists of blocks. Otherwise it has rows for all tokens (T = S).
        """
        B, P = self.prefix_ids.shape
        tails = self.tail_mask(window)
        if window is None or window >= P or self.blocks is not None:
            return tails  # Q rows: the prefix is causal, or the block attention applies the window
        i = torch.arange(P, device=tails.device)[:, None]
        j = torch.arange(tails.shape[-1], device=tails.device)
        return torch.cat([((j <= i) & (i - j < window)).expand(B, 1, -1, -1), tails], dim=2)

    def masks(self, backbone: Backbone, *, with_prefix: bool = True) -> Tensor | dict[str, Tensor]:
        """Return the masks in the form that the model expects (see `masks_by_kind`).

        with_prefix: whether the pass covers prefix and tails; false: the tails alone, with stored states of the prefix.
        """
        return masks_by_kind(backbone, self.pass_mask if with_prefix else self.tail_mask)


def _check_length(prompt: Prompt, backbone: Backbone) -> None:
    longest = prompt.positions
    limit = backbone.max_tokens
    if limit is not None and longest > limit:
        raise ValueError(
            f"a prompt of {len(prompt.passages)} passages needs {longest} positions, the model has {limit}: lower "
            "the depth of the candidate lists or prompt.max_passage_tokens"
        )


def prefix_groups(prompt: Prompt, length: int) -> Int[Tensor, " P"]:
    """Return the group of each token of a prefix: `SHARED`, or a block's number + 1.

    `PADDING` follows, up to `length` tokens.
    """
    groups = torch.full((length,), PADDING)
    groups[: len(prompt.prefix)] = SHARED
    for n, (start, end) in enumerate(prompt.blocks):
        groups[start:end] = n + 1
    return groups


def tail_groups(lengths: Sequence[int], length: int) -> Int[Tensor, " Q"]:
    """Return the group of each token of consecutive tails with these lengths.

    `PADDING` follows, up to `length` tokens.
    """
    groups = torch.full((length,), PADDING)
    at = 0
    for u, size in enumerate(lengths):
        groups[at : at + size] = FIRST_TAIL - u
        at += size
    return groups


def may_attend(query: Int[Tensor, "..."], key: Int[Tensor, "..."]) -> Bool[Tensor, "..."]:
    """Return whether a token of group `query` may attend to an earlier token of group `key`. Shapes broadcast."""
    return (query == key) | (key == SHARED) | ((query <= FIRST_TAIL) & (key > SHARED))
