"""Compute the readout: the exact attention mass of a few heads on each passage, from query and key states.

For the requested heads only, the softmax rows of the query tokens over the full key axis are computed in fp32 and
reduced per passage immediately. No matrix of size tokens x tokens is created: the largest block is `heads x rows x
keys`, limited to `MAX_BLOCK` elements. `attention.py` runs the readout in addition to the attention kernel;
`last_layer.py` runs it instead of the deepest layer's kernel.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

ATTENTION_NAME = "headrank"
"""The `attn_implementation` registered with transformers: reads attention and computes with the chosen kernel."""

MAX_BLOCK = 2**25  # elements of one fp32 block of attention rows: 128 MiB


class ReadRequest:
    """A request to read attention in one forward pass, which stores its readings in it.

    Not a dataclass: FSDP copies dataclasses that are passed to a layer and casts their tensors.

    Shapes: B lists, R query-token rows, U tails (the query, the null query, ...), S keys, N passages.

    - `heads`: layer -> heads to read there.
    - `rows` [B, R]: positions of the rows within this pass's query axis.
    - `row_weights` [B, U, R]: a tail's reading is the weighted sum of its rows; 1/|rows| on a tail's own rows and 0
      elsewhere gives the mean over the tail's rows. Padding rows weigh 0 everywhere.
    - `segments` [B, S]: the passage that each key belongs to, or -1 for keys outside of all passages.
    - `passages`: N; `per_token`: keep the key axis instead of summing per passage.
    - `per_row`: read each row's attention per passage, too.
    - `readings`: set by the pass, layer -> [B, U, heads, N] (or [B, U, heads, S] per token), fp32.
    - `row_readings`: set by the pass if `per_row`, layer -> [B, R, heads, N], fp32.
    """

    __slots__ = (
        "_membership", "heads", "passages", "per_row", "per_token", "readings", "row_readings", "row_weights", "rows",
        "segments",
    )  # fmt: skip

    def __init__(
        self,
        heads: Mapping[int, Sequence[int]],
        rows: Int[Tensor, "B R"],
        row_weights: Float[Tensor, "B U R"],
        segments: Int[Tensor, "B S"],
        passages: int,
        per_token: bool = False,
        per_row: bool = False,
    ) -> None:
        self.heads, self.rows, self.row_weights, self.segments = heads, rows, row_weights, segments
        self.passages, self.per_token, self.per_row = passages, per_token, per_row
        self.readings: dict[int, Tensor] = {}
        self.row_readings: dict[int, Tensor] = {}
        self._membership: Tensor | None = None

    def membership(self) -> Float[Tensor, "B S N"]:
        """Return for each list a matrix that is 1 where a key belongs to a passage, else 0.

        Multiplying attention by it sums the attention per passage. The result is the same in every run on a device.
        """
        if self._membership is None:
            numbers = torch.arange(self.passages, device=self.segments.device)
            self._membership = (self.segments[:, :, None] == numbers).float()
        return self._membership

    def gather(self) -> Float[Tensor, "B U heads N"]:
        """Concatenate the readings of all layers along the head axis, in the order of `heads`.

        Returns:
            [B, U, heads, N], the attention masses on the N passages; with `per_token` [B, U, heads, S], those on keys.

        Raises:
            RuntimeError: a requested layer was not read, because the model has fewer layers, or because it was not
                loaded with the attention implementation `ATTENTION_NAME`.
        """
        missing = [layer for layer in self.heads if layer not in self.readings]
        if missing:
            raise RuntimeError(
                f"layers {missing} were requested but not read: the model has fewer layers, or was not loaded with "
                f"attn_implementation={ATTENTION_NAME!r}"
            )
        return torch.cat([self.readings[layer] for layer in self.heads], dim=2)

    def gather_rows(self) -> Float[Tensor, "B R heads N"]:
        """All readings of single rows, heads in the order of `gather`, which must be called first."""
        return torch.cat([self.row_readings[layer] for layer in self.heads], dim=2)


def pick_rows(states: Shaped[Tensor, "B *heads T D"], rows: Int[Tensor, "B R"]) -> Shaped[Tensor, "B *heads R D"]:
    """Select the states at positions `rows` of the token axis T, separately for each list of the batch."""
    index = rows.view(rows.shape[0], *[1] * (states.ndim - 3), -1, 1)
    return states.gather(-2, index.expand(*states.shape[:-2], -1, states.shape[-1]))


def mask_rows(
    mask: Bool[Tensor, "B 1 T S"] | Float[Tensor, "B 1 T S"] | None,
    rows: Int[Tensor, "B R"],
    *,
    queries: int,
    keys: int,
) -> Bool[Tensor, "B 1 R S"] | Float[Tensor, "B 1 R S"]:
    """Select the rows of an attention mask at the positions `rows`.

    Args:
        mask: boolean: whether a token may attend to a key; float: added to the logits; None: a causal mask.
        rows: positions on the query axis T.
        queries: the length of the query axis T; its tokens are the last ones on the key axis.
        keys: the length of the key axis S.
    """
    if mask is None:
        positions = torch.arange(keys, device=rows.device)
        return positions <= rows[:, None, :, None] + (keys - queries)
    return pick_rows(mask[..., :keys].expand(rows.shape[0], -1, -1, -1), rows)


def softmax_rows(
    q: Float[Tensor, "B heads R D"],
    k: Float[Tensor, "B K S D"],
    kv_heads: Sequence[int],
    allowed: Bool[Tensor, "B 1 R S"] | Float[Tensor, "B 1 R S"],
    *,
    scaling: float,
) -> Float[Tensor, "B heads R S"]:
    """Return the softmax rows of query states over all keys, in fp32.

    `q` and `k` are upcast before the product, so that bf16 rows are as exact as the bf16 states. Key states are read
    once per kv head in use and never repeated per query head.

    Args:
        q: the query states of the read heads at the R rows.
        k: the key states.
        kv_heads: for each head of `q` the index of its kv head in `k`.
        allowed: boolean: whether a row may attend to a key; float: added to the logits.
        scaling: the factor of the logits.
    """
    B, H, R, D = q.shape
    K, S = k.shape[1], k.shape[2]
    used = sorted(set(kv_heads))
    # Heads that share a kv head form one matrix product; shorter groups repeat their last head, which is dropped below.
    members = [[i for i in range(H) if kv_heads[i] == kv] for kv in used]
    width = max(len(m) for m in members)
    grid = [i for m in members for i in m + [m[-1]] * (width - len(m))]
    stacked = (q if grid == list(range(H)) else q[:, grid]).float().reshape(B, len(used), width * R, D)
    keys = (k if len(used) == K else k[:, used]).float()
    logits = (stacked @ keys.transpose(-1, -2)) * scaling
    logits = logits.view(B, len(used) * width, R, S)
    if grid != list(range(H)):
        logits = logits[:, [grid.index(i) for i in range(H)]]
    if allowed.dtype == torch.bool:
        # The lowest finite number instead of -inf: padding rows that attend to nothing must not produce NaN.
        logits = logits.masked_fill(~allowed, torch.finfo(torch.float32).min)
    else:
        logits = logits + allowed.float()
    return logits.softmax(-1)


def read(
    request: ReadRequest,
    layer: int,
    q: Float[Tensor, "B heads R D"],
    k: Float[Tensor, "B K S D"],
    kv_heads: Sequence[int],
    mask: Tensor | None,
    *,
    queries: int,
    scaling: float,
) -> None:
    """Compute the readings of one layer and store them in `request.readings[layer]` and `request.row_readings[layer]`.

    Assigning instead of adding makes a recomputed pass (activation checkpointing) give the same reading.

    Args:
        request: what is read; its `readings` are changed in place.
        layer: the layer's number.
        q: the query states of the requested heads at the request's rows.
        k: the key states.
        kv_heads: for each requested head the index of its kv head in `k`.
        mask: the attention mask for all `queries` positions, see `mask_rows`.
        queries: the length of the pass's query axis.
        scaling: the factor of the logits.

    Raises:
        ValueError: the request has another number of keys than the pass, or no rows.
    """
    B, H, R, _ = q.shape
    S = k.shape[2]
    if request.segments.shape[1] != S:
        raise ValueError(f"layer {layer}: the request describes {request.segments.shape[1]} keys, the pass has {S}")
    step = max(1, MAX_BLOCK // max(1, B * H * S))
    total: Tensor | None = None
    rows: list[Tensor] = []
    for start in range(0, R, step):
        block = slice(start, start + step)
        allowed = mask_rows(mask, request.rows[:, block], queries=queries, keys=S)
        attention = softmax_rows(q[:, :, block], k, kv_heads, allowed, scaling=scaling)
        part = torch.einsum("bur,bhrs->buhs", request.row_weights[:, :, block], attention)
        total = part if total is None else total + part
        if request.per_row:
            rows.append(torch.einsum("bhrs,bsn->brhn", attention, request.membership()))
    if total is None:
        raise ValueError("a read request needs at least one row")
    if not request.per_token:
        total = torch.einsum("buhs,bsn->buhn", total, request.membership())
    request.readings[layer] = total
    if rows:
        request.row_readings[layer] = torch.cat(rows, dim=1)
