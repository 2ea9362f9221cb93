"""Let the deepest layer compute only what the readout needs: input norm, keys, and the queries of a few rows.

It computes no values, attention output or MLP. Queries are computed only for the heads and token positions (rows) that
are read, keys only for the kv heads of these heads. `Deepest` is passed as the keyword `headrank_deepest` of
`model(...)`, like the read request. `prepare_layers` makes every decoder layer check for it. Other layers, and passes
without the keyword, run unchanged.
"""

import functools
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from headrank.model.readout import ReadRequest, pick_rows, read

logger = logging.getLogger(__name__)

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma3_text", "phi3")
"""Model types whose layer structure is supported: an input norm before the attention, q and k as two matrices or parts
of one, optional norms of q and k per head, a rotary embedding, no cap on the attention's logits."""


@dataclass(frozen=True, slots=True)
class Deepest:
    """The deepest layer in use, and the heads that are read there."""

    layer: int
    heads: tuple[int, ...]


def prepare_layers(model: PreTrainedModel) -> None:
    """Make the model's decoder layers check for `headrank_deepest`. Calling it again changes nothing.

    It replaces the layers' `forward` in place. Names, parameters, hooks and saved files do not change. A model of an
    unsupported family stays unchanged and computes its whole deepest layer, which is logged.
    """
    family = model.config.get_text_config(decoder=True).model_type
    layers = list(getattr(model.get_decoder(), "layers", ()))
    if family not in FAMILIES or not layers:
        logger.info("%s: unsupported by the shortened deepest layer; it is computed whole", family)
        return
    for number, layer in enumerate(layers):
        # An instance attribute `forward`, as in accelerate's hooks: it survives copies and pickling.
        layer.forward = functools.partial(_forward, layer, number)


@contextmanager
def computed_layers(model: PreTrainedModel, depth: int) -> Iterator[None]:
    """Compute only the first `depth` decoder layers within the context, in any pass and for any family.

    It changes the model's `config.num_hidden_layers` in place, which transformers' models loop over, and restores it
    afterwards. It is not safe if threads share the model.
    """
    config = model.config.get_text_config(decoder=True)
    whole = config.num_hidden_layers
    config.num_hidden_layers = depth
    try:
        yield
    finally:
        config.num_hidden_layers = whole


def _forward(layer: nn.Module, number: int, hidden_states: Tensor, **kwargs: Any) -> Tensor:
    deepest: Deepest | None = kwargs.get("headrank_deepest")
    if deepest is None or number < deepest.layer:
        return type(layer).forward(layer, hidden_states, **kwargs)
    if number == deepest.layer:
        _read_deepest(layer, deepest, hidden_states, **kwargs)
    return hidden_states[:, -1:]  # later results are unused, so the final norm gets a single token


def _read_deepest(
    layer: Any,
    deepest: Deepest,
    hidden: Float[Tensor, "B T hidden"],
    *,
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Tensor | None = None,
    headrank_request: ReadRequest | None = None,
    headrank_tail: int | None = None,
    cache: Any = None,
    past_key_values: Any = None,  # the cache's name before transformers 5.24
    **_: Any,
) -> None:
    attention = layer.self_attn
    kv_heads = [head // attention.num_key_value_groups for head in deepest.heads]
    used = sorted(set(kv_heads))
    cos, sin = position_embeddings
    states = layer.input_layernorm(hidden)
    keys = _project(attention, "k", states, used, cos, sin)
    cache = past_key_values if cache is None else cache
    if cache is not None:
        keys, _ = cache.update(keys, keys[..., :0], deepest.layer)  # values of no width
    if headrank_request is None:
        return
    tail = hidden.shape[1] if headrank_tail is None else headrank_tail
    rows = headrank_request.rows
    at = rows + (hidden.shape[1] - tail)
    cos, sin = (pick_rows(part.expand(len(rows), -1, -1), at) for part in (cos, sin))
    queries = _project(attention, "q", pick_rows(states, at), deepest.heads, cos, sin)
    with torch.autocast(hidden.device.type, enabled=False):
        read(
            headrank_request,
            deepest.layer,
            queries,
            keys,
            [used.index(kv) for kv in kv_heads],
            None if attention_mask is None else attention_mask[:, :, -tail:],
            queries=tail,
            scaling=attention.scaling,
        )


def _project(
    attention: Any, part: str, states: Float[Tensor, "B T hidden"], heads: Sequence[int], cos: Tensor, sin: Tensor
) -> Float[Tensor, "B heads T D"]:
    """The query or key states of some heads: projected, normed if the family has norms, rotated."""
    projection, first = getattr(attention, f"{part}_proj", None), 0
    if projection is None:  # one matrix of queries, keys and values, in this order
        projection, first = attention.qkv_proj, 0 if part == "q" else attention.config.num_attention_heads
    out = _some_heads(projection, states, [first + head for head in heads], attention.head_dim)
    norm = getattr(attention, f"{part}_norm", None)
    out = (out if norm is None else norm(out)).transpose(1, 2)
    rotate: Callable[..., Any] = sys.modules[type(attention).__module__].apply_rotary_pos_emb  # the family's own
    return rotate(out, out[:, :0], cos, sin)[0]  # the function expects queries and keys: pass empty keys


def _some_heads(
    projection: nn.Module, states: Float[Tensor, "B T hidden"], heads: Sequence[int], width: int
) -> Float[Tensor, "B T heads D"]:
    shape, chosen = (*states.shape[:2], -1, width), list(heads)
    # Adapters, quantized matrices and tensor subclasses cannot be sliced: project all heads, then select.
    if type(projection) is not nn.Linear or type(projection.weight) not in (nn.Parameter, Tensor):
        return projection(states).view(shape)[:, :, chosen]
    weight, bias = projection.weight, projection.bias
    if chosen != list(range(len(weight) // width)):
        weight = weight.view(-1, width, weight.shape[1])[chosen].flatten(0, 1)
        bias = None if bias is None else bias.view(-1, width)[chosen].flatten()
    return F.linear(states, weight, bias).view(shape)
