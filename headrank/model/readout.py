"""The attention hook: exact attention mass of a few heads, read beside an unmodified attention kernel.

Stands at the bottom of the model package. transformers hands every attention function the query, key and value states
after projection, q/k normalisation, rotary embedding and the cache update, and passes unknown keyword arguments of
`model(...)` through to it. So a `ReadRequest` travels as the keyword `headrank_request`, and the function registered
here returns the kernel's own output untouched while it computes, for the heads asked for only, the softmax rows of
the query tokens over the full key axis in fp32 and reduces them per passage at once. Nothing of size tokens x tokens
is ever made: the largest block is `heads x rows x keys`, and that is cut to `MAX_BLOCK` elements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ATTENTION_NAME = "headrank"
"""The name to give transformers as `attn_implementation`: reads attention, computes with PyTorch's SDPA."""

MAX_BLOCK = 2**25  # elements of one fp32 block of attention rows: 128 MiB


@dataclass(slots=True)
class ReadRequest:
    """What to read in one forward pass, and where the readings are put.

    Shapes: B lists, R query-token rows, U tails (the query, the null query, ...), S keys, N passages.

    - `heads`: layer -> heads to read there.
    - `rows` [B, R]: positions of the rows within this pass's query axis.
    - `row_weights` [B, U, R]: a tail's reading is the weighted sum of its rows; 1/|rows| on a tail's own rows and 0
      elsewhere gives the mean over the tail's rows. Padding rows weigh 0 everywhere.
    - `segments` [B, S]: the passage that each key belongs to, or -1 for keys outside of all passages.
    - `passages`: N; `per_token`: keep the key axis instead of summing per passage.
    - `readings`: filled by the pass, layer -> [B, U, heads, N] (or [B, U, heads, S] per token), fp32.
    """

    heads: Mapping[int, Sequence[int]]
    rows: Int[Tensor, "B R"]
    row_weights: Float[Tensor, "B U R"]
    segments: Int[Tensor, "B S"]
    passages: int
    per_token: bool = False
    readings: dict[int, Tensor] = field(default_factory=dict)
    _membership: Tensor | None = None

    def membership(self) -> Float[Tensor, "B S N"]:
        """1 where a key belongs to a passage. A product with it sums per passage, the same way on every device."""
        if self._membership is None:
            numbers = torch.arange(self.passages, device=self.segments.device)
            self._membership = (self.segments[:, :, None] == numbers).float()
        return self._membership

    def gather(self) -> Float[Tensor, "B U heads K"]:
        """All readings in the order of `heads` (layers as given, then heads), K passages or keys.

        Raises `RuntimeError` where a layer that was asked for was not reached.
        """
        missing = [layer for layer in self.heads if layer not in self.readings]
        if missing:
            raise RuntimeError(
                f"layers {missing} were asked for but never read: the model has fewer layers, or was not loaded with "
                f"attn_implementation={ATTENTION_NAME!r}"
            )
        return torch.cat([self.readings[layer] for layer in self.heads], dim=2)


def attention_rows(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K S D"],
    mask: Bool[Tensor, "B 1 T S"] | Float[Tensor, "B 1 T S"] | None,
    rows: Int[Tensor, "B R"],
    heads: Sequence[int],
    *,
    scaling: float,
    softcap: float | None = None,
) -> Float[Tensor, "B heads R S"]:
    """The softmax rows of chosen heads and query positions over the full key axis, in fp32.

    `q` and `k` are upcast before the product: on bf16 states this keeps the error of the rows at that of the states
    themselves. `mask` is boolean (True = may attend) or additive; None means causal, with the queries last on the key
    axis. Key states are read once per kv head in use, never repeated per query head.
    """
    B, H, T, D = q.shape
    K, S = k.shape[1], k.shape[2]
    group = H // K
    used = sorted({head // group for head in heads})
    # The heads that share a kv head form one matrix product; shorter groups repeat their last head, dropped below.
    members = [[head for head in heads if head // group == kv] for kv in used]
    width = max(len(m) for m in members)
    grid = [m + [m[-1]] * (width - len(m)) for m in members]
    index = torch.tensor(grid, device=q.device)  # [kv in use, width]
    R = rows.shape[1]
    q_rows = q.gather(2, rows[:, None, :, None].expand(B, H, R, D))  # [B H R D]
    q_rows = q_rows[:, index.flatten()].float().view(B, len(used), width * R, D)
    keys = (k if len(used) == K else k[:, used]).float()
    logits = (q_rows @ keys.transpose(-1, -2)) * scaling
    logits = logits.view(B, len(used) * width, R, S)
    if len(used) * width != len(heads) or [h for m in members for h in m] != list(heads):
        flat = [h for row in grid for h in row]
        logits = logits[:, [flat.index(head) for head in heads]]
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    if mask is None:
        positions = torch.arange(S, device=q.device)
        allowed = positions <= rows[:, None, :, None] + (S - T)
    else:
        allowed = mask.expand(B, 1, T, mask.shape[-1])[..., :S].gather(2, rows[:, None, :, None].expand(B, 1, R, S))
    if allowed.dtype == torch.bool:
        # The least finite number, not -inf: a padding row that may attend nothing gives no NaN, forward or backward.
        logits = logits.masked_fill(~allowed, torch.finfo(torch.float32).min)
    else:
        logits = logits + allowed.float()
    return logits.softmax(-1)


def read(
    request: ReadRequest,
    layer: int,
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K S D"],
    mask: Tensor | None,
    *,
    scaling: float,
    softcap: float | None = None,
) -> None:
    """Read one layer into `request.readings[layer]` (assigned, not added: a re-run pass under activation
    checkpointing gives the same reading again)."""
    heads = list(request.heads[layer])
    B, S, R = q.shape[0], k.shape[2], request.rows.shape[1]
    if request.segments.shape[1] != S:
        raise ValueError(f"layer {layer}: the request describes {request.segments.shape[1]} keys, the pass has {S}")
    step = max(1, MAX_BLOCK // max(1, B * len(heads) * S))
    total: Tensor | None = None
    for start in range(0, R, step):
        rows = request.rows[:, start : start + step]
        attention = attention_rows(q, k, mask, rows, heads, scaling=scaling, softcap=softcap)
        weights = request.row_weights[:, :, start : start + step]
        part = torch.einsum("bur,bhrs->buhs", weights, attention)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("a read request needs at least one row")
    if not request.per_token:
        total = torch.einsum("buhs,bsn->buhn", total, request.membership())
    request.readings[layer] = total


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
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """transformers' attention function: the kernel's output, and on the side the reading that was asked for.

    `headrank_kernel` names one of transformers' attention functions. Those other than `sdpa` (FlashAttention) take no
    4-D mask, so where one is given (the short pass over the tails) SDPA computes instead.

    `headrank_tail` says that this is one pass over prefix and tails, the tails being its last so many tokens: the
    request's rows count from there, and a mask of that many rows is the tails' alone. The prefix is then computed
    apart from them, causally and without a mask, so that none of size tokens x tokens is needed.
    """
    layer = int(module.layer_idx)  # pyright: ignore[reportArgumentType]
    prefix = 0 if headrank_tail is None else query.shape[2] - headrank_tail
    if headrank_request is not None and layer in headrank_request.heads:
        if kwargs.get("s_aux") is not None:
            raise ValueError("models with attention sinks as parameters (s_aux) are not supported by the readout")
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        mask = attention_mask
        if mask is not None and headrank_tail is not None:
            mask = mask[:, :, -headrank_tail:]
        with torch.autocast(query.device.type, enabled=False):
            rows = query[:, :, prefix:]
            read(headrank_request, layer, rows, key, mask, scaling=scale, softcap=kwargs.get("softcap"))

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if headrank_kernel != "sdpa" and mask is None:
            return ALL_ATTENTION_FUNCTIONS[headrank_kernel](module, q, k, v, mask, scaling=scaling, **kwargs)
        return sdpa_attention_forward(module, q, k, v, mask, scaling=scaling, **kwargs)

    if prefix and attention_mask is not None and attention_mask.shape[2] == headrank_tail:
        before, _ = attend(query[:, :, :prefix], key[:, :, :prefix], value[:, :, :prefix], None)
        tails, _ = attend(query[:, :, prefix:], key, value, attention_mask)
        return torch.cat([before, tails], dim=1), None  # [B T H D]
    return attend(query, key, value, attention_mask)


AttentionInterface.register(ATTENTION_NAME, headrank_attention)
# Without its own mask function transformers gives a custom attention no mask at all and padding is silently attended.
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
