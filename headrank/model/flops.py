"""Floating-point operations of a reading, from the model's configuration and the prompt; and what a device can do.

A product of an [m, k] and a [k, n] matrix takes 2mkn operations (a multiplication and an addition each), so a token
takes 2 x the parameters of every layer that it goes through, and attention what its scores and values take. That is the
usual count of a forward pass (Kaplan et al. 2020, arXiv 2001.08361, table 1; Chowdhery et al. 2022, PaLM, arXiv
2204.02311, appendix B, where utilisation is the operations that are needed over seconds and what the hardware can do).
Left out, as there: norms, activations, softmax, rotary embeddings, the embedding, which multiplies nothing; and that
sliding windows leave pairs out. What the deepest layer and the readout take is counted by the same rule [ours].
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from headrank.model.backbone import DTYPES, Backbone
from headrank.model.deepest import FAMILIES
from headrank.model.footprint import ModelShape
from headrank.model.head_scores import Head, by_layer
from headrank.model.prompt import Prompt, Span


@dataclass(frozen=True, slots=True)
class ReadingFlops:
    """Floating-point operations of one list's reading, padding not counted."""

    layers: int  # matrix products of the layers that are computed whole
    attention: int  # their scores and values, of the pairs of tokens that may attend
    deepest: int  # keys of the deepest layer's kv heads in use and queries of its rows, where it computes those alone
    readout: int  # rows x keys of the heads that are read, and their sums

    @property
    def total(self) -> int:
        """All of them."""
        return self.layers + self.attention + self.deepest + self.readout


def reading_flops(
    shape: ModelShape,
    prompt: Prompt,
    heads: Sequence[Head],
    *,
    query_rows: str = "query",
    depth: int | None = None,
    stored: bool = False,
) -> ReadingFlops:
    """What reading these heads under all tails of a prompt takes.

    `depth` says that so many layers are computed whole; None is the reader's own way: those below the deepest head's,
    and of that one what is read of it. `stored`: the passages' states are there already and only the tails go through
    the layers.

    T tokens that are computed, S keys, N passages, U tails, R rows of all tails, d hidden size, H heads of size D. A
    whole layer takes 2 x parameters x T, and 4 H D for each pair of a token and a key that it may attend (T (T + 1) / 2
    where it is plainly causal). The deepest one takes 2 d D for each token and kv head in use and for each row and head
    that is read. The readout takes 2 S (R D + U R + U N) for each head: scores, weighted sum of rows, sum per passage.
    """
    prefix, tails = prompt.size
    rows = sum(_length(tail.rows(query_rows)) for tail in prompt.tails)
    layers = by_layer(heads)
    last = max(layers)
    whole = last if depth is None else depth
    computed = tails if stored else prefix + tails
    read = sum(len(members) for members in layers.values())
    # Each row's keys: the whole prefix and all tails, of which the mask leaves the row its own.
    keys = prefix + tails
    used = {head // (shape.heads // shape.kv_heads) for head in layers[last]}
    projected = computed * len(used) + rows * len(layers[last])
    sums = 2 * keys * len(prompt.tails) * (rows + len(prompt.passages))
    return ReadingFlops(
        layers=2 * computed * sum(shape.layer_parameters[:whole]),
        attention=4 * shape.heads * shape.head_size * whole * _pairs(prompt, stored=stored),
        deepest=0 if depth is not None else 2 * shape.hidden * shape.head_size * projected,
        readout=read * (2 * rows * keys * shape.head_size + sums),
    )


def floor_flops(shape: ModelShape, depth: int, tokens: int) -> int:
    """2 x parameters of the first `depth` layers x tokens: what a plain forward pass takes without its attention."""
    return 2 * tokens * sum(shape.layer_parameters[:depth])


def whole_layers(backbone: Backbone) -> int | None:
    """`depth` of `reading_flops` for a backbone: None where its deepest layer computes only what is read of it."""
    own = backbone.config.model_type in FAMILIES and not backbone.settings.whole_deepest
    return None if own else backbone.depth


def measured_matmul_rate(
    dtype: str,
    device: str = "cpu",
    *,
    size: int | None = None,
    repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Floating-point operations a second of a large square matrix product on this device: the median of some.

    `dtype` is one of `DTYPES`; `size` the matrices' side, by default 2048, on CUDA 8192; `clock` gives seconds. Threads
    and settings are PyTorch's own (on CUDA float32 without TF32, unless it was switched on). Raises `ValueError` for
    another dtype.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    cuda = torch.device(device).type == "cuda"
    side = size or (8192 if cuda else 2048)
    a, b = (torch.randn(side, side, device=device).to(DTYPES[dtype]) for _ in range(2))
    out, seconds = torch.empty_like(a), []
    for _ in range(repeats + 1):
        if cuda:
            torch.cuda.synchronize(device)
        begin = clock()
        torch.mm(a, b, out=out)
        if cuda:
            torch.cuda.synchronize(device)
        seconds.append(clock() - begin)
    return 2 * side**3 / statistics.median(seconds[1:])  # the first one prepares


def _pairs(prompt: Prompt, *, stored: bool) -> int:
    prefix = prompt.size[0]
    within = 0
    if not stored and prompt.blocks:
        # Every block is computed with the opening before it, which is attended by all and computed with each.
        within = sum(_triangle(prompt.opening + _length(block)) for block in prompt.blocks)
    elif not stored:
        within = _triangle(prefix)
    return within + sum(len(tail.ids) * prefix + _triangle(len(tail.ids)) for tail in prompt.tails)


def _triangle(tokens: int) -> int:
    return tokens * (tokens + 1) // 2


def _length(span: Span) -> int:
    return span.end - span.start
