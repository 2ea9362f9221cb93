"""FlexAttention: prefix, blocks and tails of a pass in one kernel, which leaves out what nobody sees.

`model.kernel: flex_attention`. SDPA computes prefix and tails apart, and blocks group by group: what is saved here is
kernels and copies. Compiled at its first call, for all lengths, by Triton. On a processor SDPA computes in its place:
PyTorch's kernel there has no backward, was slower, and under a sliding window its code did not compile (PyTorch 2.13).
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, no_type_check

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import pad

from headrank.model.blocks.visibility import FIRST_TAIL, PADDING, SHARED, may_see

NAME = "flex_attention"
DEVICES = ("cuda",)
GRAPHS = 64  # at most: of one list or several, with gradients or without, windows or none, ...
SQUARE = 128  # tokens: the side of what the kernel computes or leaves out


class FlexMasks:
    """The masks of one pass, made when a layer first asks: one for each width of a sliding window among the layers.

    `owners` (see `visibility.py`) and `positions` are of all tokens of the pass, prefix and tails.
    """

    def __init__(self, owners: Int[Tensor, "B T"], positions: Int[Tensor, "B T"]) -> None:
        self._owners, self._positions = owners, positions
        self._made: dict[int | None, BlockMask] = {}

    def of(self, window: int | None) -> BlockMask:
        """The mask of a layer with this window in tokens, or without one."""
        if window not in self._made:
            some, every = squares(self._owners)
            if window is not None:  # what is far away is out of sight, so no square is seen whole
                every = torch.zeros_like(every)
            length = self._owners.shape[1]
            self._made[window] = BlockMask.from_kv_blocks(
                *_listed(some & ~every),
                *_listed(every),
                BLOCK_SIZE=SQUARE,
                mask_mod=_rule(self._owners, self._positions, window),
                seq_lengths=(length, length),
            )
        return self._made[window]


def flex_masks(kernel: str, owners: Int[Tensor, "B T"], positions: Int[Tensor, "B T"]) -> FlexMasks | None:
    """The masks of a pass, where this is the kernel that computes it: `NAME` is, on devices that have it."""
    return FlexMasks(owners, positions) if kernel == NAME and owners.device.type in DEVICES else None


def attend_flex(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K T D"],
    v: Float[Tensor, "B K T D"],
    mask: BlockMask,
    scaling: float | None,
) -> Float[Tensor, "B T H D"]:
    """The attention of all tokens of a pass. Under autocast normed queries and keys come wider than values."""
    q, k = q.to(v.dtype), k.to(v.dtype)
    output: Any = _compiled()(q, k, v, block_mask=mask, scale=scaling, enable_gqa=q.shape[1] != k.shape[1])
    return output.transpose(1, 2)


def squares(owners: Int[Tensor, "B T"]) -> tuple[Bool[Tensor, "B n n"], Bool[Tensor, "B n n"]]:
    """Squares of `SQUARE` rows and keys in which any row may see any key, and those in which all see all.

    Found from the least and the greatest owner of each stretch of tokens, so that nothing of size tokens x tokens is
    made: some of the first kind may be empty after all, and there may be more of the second.
    """
    B, T = owners.shape
    n = -(-T // SQUARE)
    parts = pad(owners, (0, n * SQUARE - T), value=PADDING).view(B, n, SQUARE)
    least, greatest = parts.amin(-1), parts.amax(-1)
    shared, tail = (parts == SHARED).any(-1), (parts <= FIRST_TAIL).any(-1)
    overlap = (least[:, :, None] <= greatest[:, None]) & (least[:, None] <= greatest[:, :, None])
    some = shared[:, None] | overlap | (tail[:, :, None] & (greatest > SHARED)[:, None])
    every = ((least == SHARED) & (greatest == SHARED))[:, None].expand(B, n, n)
    return some.tril(), every.tril(-1)


def _listed(some: Bool[Tensor, "B n n"]) -> tuple[Int[Tensor, "B 1 n"], Int[Tensor, "B 1 n n"]]:
    """For each stretch of rows, how many stretches of keys, and which: those first."""
    places = some.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    return some.sum(-1, dtype=torch.int32)[:, None], places[:, None].to(torch.int32)


@no_type_check  # traced, as `may_see` is
def _rule(owners: Tensor, positions: Tensor, window: int | None) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    width = len(positions[0]) if window is None else window

    def see(b: Tensor, _: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (j <= i) & may_see(owners[b, i], owners[b, j])

    def see_near(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return see(b, h, i, j) & (positions[b, i] - positions[b, j] < width)

    return see if window is None else see_near


@functools.cache
def _compiled() -> Callable[..., Any]:
    # With fullgraph PyTorch raises after so many graphs, and does not go on with matrices of size tokens x tokens.
    known = "recompile_limit" in inspect.signature(torch.compile).parameters  # not in PyTorch 2.11
    options: dict[str, Any] = {"fullgraph": True, "recompile_limit": GRAPHS} if known else {}
    return torch.compile(flex_attention, dynamic=True, **options)
