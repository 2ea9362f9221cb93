"""Compute attention within blocks: a passage attends to itself and the opening (the tokens before the first passage).

The tokens of a list form one row, [opening | block | block | ...], with one block per passage, so the matrix products
of a layer need no padding. Only the attention separates the blocks: the opening followed by one block becomes a short
causal sequence, and sequences of similar length share one kernel call. The cost is linear in the number of passages; no
mask of size tokens x tokens exists.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headrank.model.prompt import Prompt

MAX_PADDING = 0.2  # largest share of padding among a group's tokens, in the attention only


@dataclass(frozen=True, slots=True)
class BlockGroup:
    """Blocks of similar length, as n sequences of L tokens.

    A sequence is the opening of a list, then one of its blocks (a passage), then padding. `row` and `position` index
    these tokens in the pass [B, T]. The `scatter_*` indices write the outputs back: the output of token
    `scatter_offset` of sequence `scatter_block` belongs to token [`scatter_row`, `scatter_position`] of the pass. The
    group writes m tokens, each once. The outputs of a list's opening are taken from the list's first block.
    """

    row: Int[Tensor, "n 1"]
    position: Int[Tensor, "n L"]
    scatter_block: Int[Tensor, " m"]
    scatter_offset: Int[Tensor, " m"]
    scatter_row: Int[Tensor, " m"]
    scatter_position: Int[Tensor, " m"]


Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]


def group_blocks(prompts: Sequence[Prompt], device: torch.device) -> tuple[BlockGroup, ...]:
    """Group the blocks of a batch's prompts by length, longest first. The groups' index tensors are on `device`."""
    blocks = [(row, number) for row, prompt in enumerate(prompts) for number in range(len(prompt.blocks))]

    def length(block: tuple[int, int]) -> int:
        prompt = prompts[block[0]]
        start, end = prompt.blocks[block[1]]
        return prompt.opening + end - start

    groups: list[list[tuple[int, int]]] = []
    used = 0
    for block in sorted(blocks, key=lambda block: -length(block)):
        used += length(block)
        if not groups or used < (1 - MAX_PADDING) * length(groups[-1][0]) * (len(groups[-1]) + 1):
            groups.append([])
            used = length(block)
        groups[-1].append(block)
    return tuple(_group(prompts, members, length(members[0]), device) for members in groups)


def _group(
    prompts: Sequence[Prompt], members: Sequence[tuple[int, int]], longest: int, device: torch.device
) -> BlockGroup:
    position = torch.zeros(len(members), longest, dtype=torch.long)
    scatter: list[tuple[int, int, int, int]] = []
    for n, (row, number) in enumerate(members):
        prompt = prompts[row]
        positions = [*range(prompt.opening), *range(*prompt.blocks[number])]
        position[n, : len(positions)] = torch.tensor(positions)
        first = 0 if number == 0 else prompt.opening
        scatter += [(n, offset, row, positions[offset]) for offset in range(first, len(positions))]
    row = torch.tensor([[row] for row, _ in members], device=device)
    return BlockGroup(row, position.to(device), *torch.tensor(scatter, device=device).unbind(1))


def attend_blocks(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K T D"],
    v: Float[Tensor, "B K T D"],
    groups: Sequence[BlockGroup],
    attend: Attend,
    *,
    window: int | None = None,
) -> Float[Tensor, "B T H D"]:
    """Compute attention block by block.

    Shapes: B lists, H query heads, K key-value heads, T tokens of the pass, D head size.

    Args:
        q: query states.
        k: key states.
        v: value states.
        groups: the blocks, from `group_blocks`.
        attend: the kernel: takes q, k, v and a mask (None: causal), returns an output [n, L, H, D] and None.
        window: the width of the sliding window in tokens; None: full attention.

    Returns:
        The outputs; 0 for tokens outside of all blocks (padding, tails).
    """
    output = q.new_zeros(q.shape[0], q.shape[2], q.shape[1], v.shape[-1])
    for group in groups:
        L = group.position.shape[1]
        # Two index tensors with a slice between them move to the front: [n, L, heads, D].
        block_q, block_k, block_v = (states[group.row, :, group.position].transpose(1, 2) for states in (q, k, v))
        mask = None
        if window is not None and window < L:
            at = torch.arange(L, device=q.device)
            mask = ((at <= at[:, None]) & (at[:, None] - at < window))[None, None]
        out, _ = attend(block_q, block_k, block_v, mask)
        output[group.scatter_row, group.scatter_position] = out[group.scatter_block, group.scatter_offset].to(
            output.dtype
        )
    return output
