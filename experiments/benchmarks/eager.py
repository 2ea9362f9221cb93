"""The plain recipe for reading attention: every layer, eager attention, all of its matrices kept and then summed.

Code of its own, so that it says something about exactness too. It computes no logits, which published code does.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from headrank.model import Head, HeadScores, ModelShape, Prompt
from headrank.model.block_states import CACHE_ARGUMENT


@torch.inference_mode()
def eager_scores(model: Any, prompt: Prompt, heads: Sequence[Head], *, again: bool) -> HeadScores:
    """Head scores of the query's and the null query's own rows. `model` computes eager attention.

    again: the passages are read once more for the null query, and not taken from the cache of the first pass.
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
        options = {} if cache is None else {CACHE_ARGUMENT: cache}
        attentions = model(
            input_ids=torch.tensor([ids], device=model.device),
            output_attentions=True,
            use_cache=cache is not None,
            **options,
        ).attentions
        rows = slice(len(ids) - len(tail.ids) + tail.query.start, len(ids) - len(tail.ids) + tail.query.end)
        own = torch.stack([attentions[head.layer][0, head.head, rows, :prefix].float().mean(0) for head in heads])
        readings.append(torch.stack([own[:, span.start : span.end].sum(1) for span in prompt.passages], dim=1))
        del attentions
    lengths = torch.tensor([span.end - span.start for span in prompt.passages])
    return HeadScores(tuple(heads), readings[0], readings[1] if len(readings) > 1 else None, lengths)


def eager_bytes(shape: ModelShape, tokens: int) -> int:
    """What the matrices of all layers take, and of one layer at work two more in fp32."""
    square = shape.heads * tokens**2
    return square * (shape.layers * shape.number_bytes + 2 * 4)
