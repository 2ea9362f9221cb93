"""The eager recipe: run every layer with eager attention, keep all attention matrices, then sum them over spans.

It shares no code with HeadRank, so it also checks exactness. Unlike published code it computes no logits. If the
matrices do not fit into memory, the frugal variant frees each layer's matrices before the next layer.
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
    """Compute the head scores of the rows of the query and the null query with eager attention.

    Args:
        model: the decoder; it must compute eager attention.
        prompt: the prompt of one candidate list.
        heads: the heads to score.
        again: whether the passages are computed again for the null query, instead of using the cache of the first pass.
        frugal: whether each layer's matrices are freed after their rows are copied, instead of kept to the end of the
            pass.
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
        mass = torch.stack([taken[head][:, :prefix].float().mean(0) for head in heads])
        readings.append(torch.stack([mass[:, span.start : span.end].sum(1) for span in prompt.passages], dim=1))
        del kept
    lengths = torch.tensor([span.end - span.start for span in prompt.passages])
    return HeadScores(tuple(heads), readings[0], readings[1] if len(readings) > 1 else None, lengths)


@contextmanager
def _taken(model: Any, heads: Sequence[Head], rows: slice) -> Iterator[dict[Head, Tensor]]:
    """A context in which every pass copies the rows of the heads to this dictionary, without keeping the matrices."""
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
    """Estimate the bytes of the attention matrices of all layers, plus two matrices of the current layer in fp32.

    Args:
        shape: the sizes of the model.
        tokens: the number of tokens of the prompt.
        frugal: whether only the matrices of one layer are kept.
    """
    square = shape.heads * tokens**2
    return square * ((1 if frugal else shape.layers) * shape.number_bytes + 2 * 4)
