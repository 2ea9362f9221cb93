"""The plain recipe for reading attention: every layer, eager attention, all of its matrices kept and then summed.

Code of its own, so that it says something about exactness too. It computes no logits, which published code does. Where
all matrices do not fit into memory, a frugal form of it drops each layer's before the next one's are made.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from headrank.model import Head, HeadScores, ModelShape, Prompt
from headrank.model.blocks.states import CACHE_ARGUMENT


@torch.inference_mode()
def eager_scores(
    model: Any, prompt: Prompt, heads: Sequence[Head], *, again: bool = False, frugal: bool = False
) -> HeadScores:
    """Head scores of the query's and the null query's own rows. `model` computes eager attention.

    again: the passages are read once more for the null query, and not taken from the cache of the first pass.
    frugal: each layer's matrices are let go after their rows are taken, and not kept to the end of the pass.
    """
    prefix = len(prompt.prefix)
    cache = None if again else DynamicCache()
    readings = []
    for number, tail in enumerate(prompt.tails):
        ids = list(tail.ids)
        if cache is None or number == 0:
            ids = [*prompt.prefix, *ids]
        else:
            cache.crop(-len(prompt.tails[number - 1].ids))
        first = len(ids) - len(tail.ids)
        rows = slice(first + tail.query.start, first + tail.query.end)
        options = {} if cache is None else {CACHE_ARGUMENT: cache}
        with _taken(model, heads, rows) as taken:
            kept = model(
                input_ids=torch.tensor([ids], device=model.device),
                output_attentions=not frugal,
                use_cache=cache is not None,
                **options,
            ).attentions
        own = torch.stack([taken[head][:, :prefix].float().mean(0) for head in heads])
        readings.append(torch.stack([own[:, span.start : span.end].sum(1) for span in prompt.passages], dim=1))
        del kept
    lengths = torch.tensor([span.end - span.start for span in prompt.passages])
    return HeadScores(tuple(heads), readings[0], readings[1] if len(readings) > 1 else None, lengths)


@contextmanager
def _taken(model: Any, heads: Sequence[Head], rows: slice) -> Iterator[dict[Head, Tensor]]:
    """Within it every pass leaves the heads' rows here, copies that hold no matrix."""
    taken: dict[Head, Tensor] = {}

    def take(layer: int) -> Any:
        def hook(_: Any, __: Any, output: tuple[Tensor, Tensor]) -> None:
            taken.update({head: output[1][0, head.head, rows].clone() for head in heads if head.layer == layer})

        return hook

    hooks = [model.layers[n].self_attn.register_forward_hook(take(n)) for n in {head.layer for head in heads}]
    try:
        yield taken
    finally:
        for hook in hooks:
            hook.remove()


def eager_bytes(shape: ModelShape, tokens: int, *, frugal: bool = False) -> int:
    """What the matrices of all layers take, frugally of one; and of a layer at work two more in fp32."""
    square = shape.heads * tokens**2
    return square * ((1 if frugal else shape.layers) * shape.number_bytes + 2 * 4)
