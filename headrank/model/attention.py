"""Define the attention function that transformers calls in every layer of the model.

It returns the kernel's output. It also measures the attention of the requested heads (the readout, see `readout.py`).

transformers calls it with the query, key and value states after projection, q/k normalisation, rotary embedding and the
cache update, and passes unknown keyword arguments of `model(...)` through to it. The `ReadRequest` is such an argument,
`headrank_request`. So no global state, patched model or copied modeling file is needed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from headrank.model.block_attention import BlockGroup, attend_blocks
from headrank.model.readout import ATTENTION_NAME, ReadRequest, pick_rows, read


def headrank_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    headrank_request: ReadRequest | None = None,
    headrank_kernel: str = "sdpa",
    headrank_tail: int | None = None,
    headrank_blocks: Sequence[BlockGroup] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Compute the attention output of a layer, and store the requested reading in the request.

    Shapes: B prompts, H query heads, K key-value heads, T tokens of the pass, S keys, D head size.

    Args:
        module: the attention module; its `layer_idx` is the layer's number.
        query: [B, H, T, D], the query states.
        key: [B, K, S, D], the key states.
        value: [B, K, S, D], the value states.
        attention_mask: [B, 1, rows, S], with a row for every token or only for the last `headrank_tail` tokens; None:
            causal.
        scaling: the factor of the logits; None: 1 / sqrt(D).
        headrank_request: the heads and rows to read; None: nothing is read.
        headrank_kernel: the name of the transformers attention function that computes the output. If a mask is given,
            SDPA computes it, because FlashAttention takes no 4-D mask.
        headrank_tail: the number of tokens at the end that form the tails (the query's and null query's parts of the
            prompts); the tokens before them are the prefix. The request's rows count from the first tail token. If the
            mask has rows for the tails only, the prefix is computed separately, causally and without a mask of size
            tokens x tokens. None: the pass is not divided.
        headrank_blocks: groups of passages that do not attend to each other (see `block_attention.py`); None: the
            prefix is causal as a whole.

    Returns:
        The output [B, T, H, D], and None in place of attention weights.

    Raises:
        ValueError: a layer that is read has attention sinks as parameters.
    """
    layer = int(module.layer_idx)  # pyright: ignore[reportArgumentType]
    prefix = 0 if headrank_tail is None else query.shape[2] - headrank_tail
    if headrank_request is not None and layer in headrank_request.heads:
        if kwargs.get("s_aux") is not None:
            raise ValueError("models with attention sinks as parameters (s_aux) are not supported by the readout")
        mask = attention_mask
        if mask is not None and headrank_tail is not None:
            mask = mask[:, :, -headrank_tail:]
        heads, group = list(headrank_request.heads[layer]), query.shape[1] // key.shape[1]
        with torch.autocast(query.device.type, enabled=False):
            read(
                headrank_request,
                layer,
                pick_rows(query[:, heads, prefix:], headrank_request.rows),
                key,
                [head // group for head in heads],
                mask,
                queries=query.shape[2] - prefix,
                scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
            )
    # Positions restart within a row, from which FlashAttention would infer packed sequences.
    kwargs.pop("position_ids", None)

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if headrank_kernel != "sdpa" and mask is None:
            return ALL_ATTENTION_FUNCTIONS[headrank_kernel](module, q, k, v, mask, scaling=scaling, **kwargs)
        if mask is not None and _few(q, k, mask):
            return _attend_few(q, k, v, mask, scaling, kwargs.get("dropout", 0.0)), None
        return sdpa_attention_forward(module, q, k, v, mask, scaling=scaling, **kwargs)

    tails_alone = attention_mask is not None and attention_mask.shape[2] == headrank_tail
    if headrank_blocks is None and not (prefix and tails_alone):
        return attend(query, key, value, attention_mask)
    q, k, v = (states[:, :, :prefix] for states in (query, key, value))
    if headrank_blocks is None:
        before, _ = attend(q, k, v, None)
    else:
        before = attend_blocks(q, k, v, headrank_blocks, attend, window=kwargs.get("sliding_window"))
    if not headrank_tail:
        return before, None
    tails, _ = attend(query[:, :, prefix:], key, value, attention_mask)
    return torch.cat([before, tails], dim=1), None  # [B T H D]


def _few(q: Float[Tensor, "B H Q D"], k: Float[Tensor, "B K S D"], mask: Tensor) -> bool:
    """Whether repeating the mask for the query heads of a kv head costs less than repeating keys and values."""
    H, Q, D = q.shape[1:]
    group = H // k.shape[1]
    return group > 1 and mask.shape[1] == 1 and group * Q <= 2 * H * D


def _attend_few(
    q: Float[Tensor, "B H Q D"],
    k: Float[Tensor, "B K S D"],
    v: Float[Tensor, "B K S D"],
    mask: Bool[Tensor, "B 1 Q S"] | Float[Tensor, "B 1 Q S"],
    scaling: float | None,
    dropout: float,
) -> Float[Tensor, "B Q H D"]:
    """SDPA of few queries over many keys. The query heads of a kv head become additional query rows, so that no key or
    value is copied. If a mask is given, transformers repeats keys and values for each query head."""
    B, H, Q, D = q.shape
    group = H // k.shape[1]
    rows = q.reshape(B, k.shape[1], group * Q, D)
    output = F.scaled_dot_product_attention(
        rows, k, v, attn_mask=mask.repeat(1, 1, group, 1), dropout_p=dropout, scale=scaling
    )
    return output.reshape(B, H, Q, -1).transpose(1, 2)  # kernels differ in the memory layout of their output


AttentionInterface.register(ATTENTION_NAME, headrank_attention)
# Without its own mask function transformers gives a custom attention no mask at all and padding is silently attended.
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
