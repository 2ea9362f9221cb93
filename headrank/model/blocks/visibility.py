"""Visibility in one pass: an owner for each token, and the rule from which all masks are built.

A token attends causally to tokens of its owner and to shared tokens; tail tokens also attend to the whole prefix.
With full attention the whole prefix is shared, with blocks only the opening.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from headrank.model.prompt import Prompt

SHARED = 0  # block n has owner n + 1
PADDING = -1  # attends to padding and shared tokens; only padding attends to it
FIRST_TAIL = -2  # tail u has owner -2 - u


def prefix_owners(prompt: Prompt, length: int) -> Int[Tensor, " P"]:
    """The owners of the tokens of a prefix, padded to `length`."""
    owners = torch.full((length,), PADDING)
    owners[: len(prompt.prefix)] = SHARED
    for n, (start, end) in enumerate(prompt.blocks):
        owners[start:end] = n + 1
    return owners


def tail_owners(lengths: Sequence[int], length: int) -> Int[Tensor, " Q"]:
    """The owners of consecutive tails of these lengths, padded to `length`."""
    owners = torch.full((length,), PADDING)
    at = 0
    for u, size in enumerate(lengths):
        owners[at : at + size] = FIRST_TAIL - u
        at += size
    return owners


def may_see(seer: Int[Tensor, "..."], seen: Int[Tensor, "..."]) -> Bool[Tensor, "..."]:
    """Whether tokens with owner `seer` may attend to earlier tokens with owner `seen`. Shapes broadcast."""
    return (seer == seen) | (seen == SHARED) | ((seer <= FIRST_TAIL) & (seen > SHARED))
