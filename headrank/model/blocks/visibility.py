"""Who sees whom in one pass: an owner for each token, and the rule that all masks are made by.

Of what stands at or before it a token sees those of its own owner, shared tokens, and, if it belongs to a tail, all of
the prefix. Under plainly causal attention the whole prefix is shared, in blocks the opening alone is.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from headrank.model.prompt import Prompt

SHARED = 0  # block n is n + 1
PADDING = -1  # sees padding and what is shared, is seen by padding alone
FIRST_TAIL = -2  # tail u is -2 - u


def prefix_owners(prompt: Prompt, length: int) -> Int[Tensor, " P"]:
    """The owners of a prefix's tokens, padded to `length`."""
    owners = torch.full((length,), PADDING)
    owners[: len(prompt.prefix)] = SHARED
    for n, (start, end) in enumerate(prompt.blocks):
        owners[start:end] = n + 1
    return owners


def tail_owners(lengths: Sequence[int], length: int) -> Int[Tensor, " Q"]:
    """The owners of tails of these lengths side by side, padded to `length`."""
    owners = torch.full((length,), PADDING)
    at = 0
    for u, size in enumerate(lengths):
        owners[at : at + size] = FIRST_TAIL - u
        at += size
    return owners


def may_see(seer: Int[Tensor, "..."], seen: Int[Tensor, "..."]) -> Bool[Tensor, "..."]:
    """The rule, of what stands at or before the seer: owners of shapes that broadcast in, booleans out."""
    return (seer == seen) | (seen == SHARED) | ((seer <= FIRST_TAIL) & (seen > SHARED))
