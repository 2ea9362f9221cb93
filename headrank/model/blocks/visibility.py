"""Groups of tokens in a pass, and the rule from which all attention masks are built.

A token attends causally to tokens of its own group and to shared tokens; tail tokens also attend to the whole prefix.
With full attention the whole prefix is shared, with blocks only the opening.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from headrank.model.prompt import Prompt

SHARED = 0  # block n is group n + 1
PADDING = -1  # attends to padding and shared tokens; only padding attends to it
FIRST_TAIL = -2  # tail u is group -2 - u


def prefix_groups(prompt: Prompt, length: int) -> Int[Tensor, " P"]:
    """The group of each token of a prefix, padded to `length`."""
    groups = torch.full((length,), PADDING)
    groups[: len(prompt.prefix)] = SHARED
    for n, (start, end) in enumerate(prompt.blocks):
        groups[start:end] = n + 1
    return groups


def tail_groups(lengths: Sequence[int], length: int) -> Int[Tensor, " Q"]:
    """The group of each token of consecutive tails of these lengths, padded to `length`."""
    groups = torch.full((length,), PADDING)
    at = 0
    for u, size in enumerate(lengths):
        groups[at : at + size] = FIRST_TAIL - u
        at += size
    return groups


def may_attend(query: Int[Tensor, "..."], key: Int[Tensor, "..."]) -> Bool[Tensor, "..."]:
    """Whether a token of group `query` may attend to an earlier token of group `key`. Shapes broadcast."""
    return (query == key) | (key == SHARED) | ((query <= FIRST_TAIL) & (key > SHARED))
