"""Compute the key and value states of blocks, and assemble them for the pass of a query.

With `prompt.attention: blocks` each passage is a block. Its states depend only on the passage and the opening (the
tokens before the first passage), and have the same positions in every list. `compute_states` computes them once, in a
pass without queries; `AssembledCache` assembles them for any query. Only the states that a pass over the tails (the
query's and null query's parts) reads are stored: rotated keys and values of the layers below the deepest head's layer,
and in that layer the keys of the kv heads in use.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from transformers import DynamicCache, LlamaModel

from headrank.model.backbone import Backbone, masks_by_kind
from headrank.model.block_attention import group_blocks
from headrank.model.head_scores import Head, by_layer
from headrank.model.last_layer import FAMILIES, Deepest
from headrank.model.prompt import Prompt, Span

# transformers 5.24 renamed this argument of every model and warns of the old name.
CACHE_ARGUMENT = "cache" if "cache" in inspect.signature(LlamaModel.forward).parameters else "past_key_values"

INT8 = "int8"
STORED = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, INT8: torch.int8}
"""The dtypes of stored states; int8 has one fp32 scale per token and kv head."""


@dataclass(frozen=True, slots=True)
class StateShape:
    """The states that are stored for a token, as rows of `width` numbers (the head size).

    Each layer below the deepest has one row for the keys and one for the values of each kv head. The deepest layer has
    one row for the keys of each kv head in use, and none for values.
    """

    depth: int  # layers up to the deepest head
    kv_heads: int
    used: tuple[int, ...]  # the deepest layer's kv heads in use
    width: int

    @classmethod
    def of(cls, backbone: Backbone, heads: Sequence[Head]) -> "StateShape":
        """Return the shape of the states needed to read these heads.

        Raises `ValueError` for a model whose deepest layer is computed whole: it needs more states than are stored.
        """
        config = backbone.config
        if config.model_type not in FAMILIES or backbone.settings.whole_deepest:
            raise ValueError(
                f"{backbone.settings.model} ({config.model_type}): passage states are supported only for models whose "
                f"deepest layer computes just what is read ({', '.join(FAMILIES)}; model.whole_deepest=false)"
            )
        layers = by_layer(heads)
        last, kv_heads = max(layers), int(config.num_key_value_heads)
        group = backbone.heads_per_layer // kv_heads
        width = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
        used = tuple(sorted({head // group for head in layers[last]}))
        return cls(last + 1, kv_heads, used, width)

    @property
    def rows(self) -> int:
        """The number of stored rows per token."""
        return (self.depth - 1) * 2 * self.kv_heads + len(self.used)

    def size(self, tokens: int, dtype: str) -> int:
        """Return the bytes that the states of `tokens` tokens take, on disk and in memory.

        dtype: the dtype of the stored states, a key of `STORED`.
        """
        scale = 4 if dtype == INT8 else 0
        return tokens * self.rows * (self.width * STORED[dtype].itemsize + scale)


@dataclass(frozen=True, slots=True)
class BlockStates:
    """The states of one block: for each layer the rows of the keys, then those of the values, kv head by kv head.

    tokens: the number of tokens of the block.
    rows: the states, see `StateShape`.
    scales: the factor of each row for int8 states; None for other dtypes.
    """

    tokens: int
    rows: Shaped[Tensor, "rows D"]
    scales: Float[Tensor, " rows"] | None = None  # of int8

    def layer(
        self, shape: StateShape, layer: int, like: Tensor
    ) -> tuple[Float[Tensor, "K t D"], Float[Tensor, "K t D"] | None]:
        """Return the keys and the values of a layer. In the deepest layer, the values are None.

        Shapes: K kv heads (in the deepest layer only those in use), t tokens of the block, D head size.

        Args:
            shape: the shape with which the states were computed.
            layer: the layer's number.
            like: a tensor with the dtype and the device of the result.
        """
        last = layer == shape.depth - 1
        parts = len(shape.used) if last else 2 * shape.kv_heads
        start = layer * 2 * shape.kv_heads * self.tokens
        part = slice(start, start + parts * self.tokens)
        rows = self.rows[part].to(like)
        if self.scales is not None:
            rows = rows * self.scales[part, None].to(like)
        states = rows.view(parts, self.tokens, shape.width)
        return (states, None) if last else (states[: shape.kv_heads], states[shape.kv_heads :])

    def stored(self, dtype: str) -> "BlockStates":
        """Return the same states in another dtype (a key of `STORED`), on the CPU."""
        if dtype != INT8:
            return BlockStates(self.tokens, self.rows.to("cpu", STORED[dtype]))
        rows = self.rows.float().cpu()
        scales = rows.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        return BlockStates(self.tokens, (rows / scales[:, None]).round().to(torch.int8), scales)


@torch.inference_mode()
def compute_states(
    backbone: Backbone, shape: StateShape, opening: Sequence[int], blocks: Sequence[Sequence[int]]
) -> list[BlockStates]:
    """Compute the states of the opening and of each block in one pass.

    Args:
        backbone: the model.
        shape: the states that are needed.
        opening: the token ids before the first passage.
        blocks: the token ids of each block.

    Returns:
        The states of the opening, then those of each block.

    Raises:
        ValueError: opening and longest block together are longer than the model's context.
    """
    longest = len(opening) + max((len(ids) for ids in blocks), default=0)
    if backbone.max_tokens is not None and longest > backbone.max_tokens:
        raise ValueError(
            f"a passage needs {longest} positions, the model has {backbone.max_tokens}: lower prompt.max_passage_tokens"
        )
    prefix, spans = list(opening), []
    for ids in blocks:
        spans.append(Span(len(prefix), len(prefix) + len(ids)))
        prefix += ids
    prompt = Prompt(tuple(prefix), (), (), blocks=tuple(spans))
    positions = [*range(len(opening)), *(len(opening) + i for ids in blocks for i in range(len(ids)))]
    ids, at = torch.tensor([prefix], device=backbone.device), torch.tensor([positions], device=backbone.device)
    device, cache, group = backbone.device, _RecordingCache(), backbone.heads_per_layer // shape.kv_heads
    backbone.model(
        input_ids=ids,
        position_ids=at,
        # A mask without rows, since there are no tails; given None, transformers would build a full mask.
        attention_mask=masks_by_kind(backbone, lambda _: torch.ones(1, 1, 0, len(prefix), dtype=torch.bool)),
        **{CACHE_ARGUMENT: cache},
        use_cache=True,
        headrank_kernel=backbone.settings.kernel,
        headrank_tail=0,
        headrank_blocks=group_blocks([prompt], device) if blocks else None,
        headrank_deepest=Deepest(shape.depth - 1, tuple(kv * group for kv in shape.used)),
    )
    results = []
    for start, end in (Span(0, len(opening)), *spans):
        rows = torch.cat([states[:, start:end].reshape(-1, shape.width) for states in cache.kept])
        results.append(BlockStates(end - start, rows))
    return results


class _RecordingCache(DynamicCache):
    """Records the keys and values of a pass, layer by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Float[Tensor, "K T D"]] = []

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any):
        self.kept += [key_states[0], value_states[0]] if value_states.numel() else [key_states[0]]
        return key_states, value_states


class AssembledCache(DynamicCache):
    """A key-value cache that joins stored states with those of a batch's tails, layer by layer during the pass.

    Args:
        shape: which states of a token are stored.
        lists: for each candidate list the states of the opening, then of its blocks in context order. Shorter lists are
            padded on the right, as in `Batch`.
    """

    def __init__(self, shape: StateShape, lists: Sequence[Sequence[BlockStates]]) -> None:
        super().__init__()
        self._shape, self._lists = shape, lists
        self._length = max(sum(block.tokens for block in blocks) for blocks in lists)

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any):
        """Return all keys and all values of a layer: the stored ones, then the given ones of the tails.

        In the deepest layer the given values are returned alone, because no values are stored there. See
        `transformers.DynamicCache.update` for the arguments.
        """
        parts = [[block.layer(self._shape, layer_idx, key_states) for block in blocks] for blocks in self._lists]
        keys = self._join([[k for k, _ in blocks] for blocks in parts], key_states)
        if layer_idx == self._shape.depth - 1:
            return keys, value_states
        return keys, self._join([[v for _, v in blocks if v is not None] for blocks in parts], value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the number of tokens before the tails, with padding. It is the same in every layer."""
        return self._length

    def _join(self, lists: Sequence[Sequence[Tensor]], tails: Float[Tensor, "B K Q D"]) -> Float[Tensor, "B K S D"]:
        rows = []
        for blocks, tail in zip(lists, tails, strict=True):
            missing = self._length - sum(block.shape[1] for block in blocks)
            padding = [tail.new_zeros(tail.shape[0], missing, tail.shape[2])] if missing else []
            rows.append(torch.cat([*blocks, *padding, tail], dim=1))
        return rows[0][None] if len(rows) == 1 else torch.stack(rows)
