"""Floating-point operations of a reading, from the model's configuration and the prompt; and memory estimates.

A product of an [m, k] and a [k, n] matrix takes 2mkn operations (multiplications and additions). A token therefore
takes 2 x the parameters of every layer that it passes, plus the operations of the attention's scores and values. This
is the usual count of a forward pass (Kaplan et al. 2020, arXiv 2001.08361, table 1; Chowdhery et al. 2022, PaLM, arXiv
2204.02311, appendix B, which defines utilisation as the needed operations over seconds x peak rate). As there, norms,
activations, softmax, rotary embeddings and the embedding are not counted; pairs outside of sliding windows are. The
deepest layer and the readout are counted by the same rule [ours].

Memory of a model, of a pass over a list and of training is estimated from the architecture alone. Symbols: T tokens of
all prompts of a batch, d hidden size, i intermediate size, H query heads, K key and value heads, D head size, b bytes
per number in the model's dtype. The model is built on torch's `meta` device, so parameters are counted exactly without
allocating weights. The rest follows from the tensors that a decoder layer and the readout keep [ours]; it is right in
magnitude, not exact. experiments/memory/README.md compares it with measurements.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModel, PreTrainedModel

from headrank.model.backbone import DTYPES, Backbone, BackboneSettings, load_config
from headrank.model.head_scores import Head, by_layer
from headrank.model.last_layer import FAMILIES
from headrank.model.loading.checks import check_decoder
from headrank.model.prompt import Prompt, Span
from headrank.model.readout import ATTENTION_NAME, MAX_BLOCK

_FLOAT = 4  # bytes per number of norms, readout and adapters, which compute in fp32
_ADAM = 3 * _FLOAT  # additional bytes per trained parameter: gradient and two moments


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a decoder: parameters per layer and outside of layers, and the sizes that determine activations."""

    layer_parameters: tuple[int, ...]
    other_parameters: int  # embeddings and the last norm
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    max_tokens: int | None
    number_bytes: int  # of the dtype

    @property
    def layers(self) -> int:
        """The number of layers."""
        return len(self.layer_parameters)

    def weight_bytes(self, depth: int) -> int:
        """Bytes of the weights of the first `depth` layers and the embeddings."""
        return self.number_bytes * (self.other_parameters + sum(self.layer_parameters[:depth]))

    def reading_bytes(self, tokens: int) -> int:
        """Bytes for reading T tokens in addition to the weights, independent of the number of layers.

        One layer needs per token: residual stream and norm (2d b + 2d fp32), and the larger of attention
        (2 (H + 2K) D b + H D b) and MLP (3i b). The readout adds at most four blocks of `MAX_BLOCK` numbers and one
        layer's keys in fp32.
        """
        b, kv = self.number_bytes, self.kv_heads * self.head_size
        attention = 2 * (self.heads * self.head_size + 2 * kv) + self.heads * self.head_size
        layer = b * (2 * self.hidden + max(attention, 3 * self.intermediate)) + _FLOAT * 2 * self.hidden
        readout = min(4 * MAX_BLOCK, 4 * self.heads * tokens * 64) * _FLOAT + tokens * kv * _FLOAT
        return tokens * layer + readout

    def training_bytes(self, depth: int, tokens: int, trained: int, *, checkpointing: bool) -> int:
        """Bytes for training `trained` parameters in addition to the weights.

        Each trained parameter takes 16 bytes (adapter, gradient, AdamW's moments; 4 too many for matrices trained in
        place). For T tokens the backward pass keeps, per layer before the deepest: two norms (4d fp32), the adapters'
        inputs (2d fp32), queries, keys, values and output of attention (4 H D b, keys and values repeated per head),
        q and k before their norm (fp32), and the MLP (3i b). With activation checkpointing it keeps d b per layer and
        one whole layer. In both cases the deepest layer keeps its norm (d b + 2d fp32) and its keys (before and after
        their norm, and for the readout: 3KD fp32).
        """
        b, width = self.number_bytes, self.heads * self.head_size
        layer = b * (3 * self.intermediate + 4 * width + self.hidden) + _FLOAT * (
            6 * self.hidden + width + self.kv_heads * self.head_size
        )
        deepest = b * self.hidden + _FLOAT * (2 * self.hidden + 3 * self.kv_heads * self.head_size)
        above = (depth - 1) * b * self.hidden + layer if checkpointing else (depth - 1) * layer
        return trained * (_FLOAT + _ADAM) + tokens * (above + deepest + layer)  # one layer computed backwards

    def matrix_parameters(self, names: Sequence[str], depth: int, rank: int | None) -> int:
        """The number of parameters of the named matrices in the first `depth` layers.

        rank: if given, the parameters of LoRA adapters of this rank on these matrices are counted instead.
        """
        query, key = self.heads * self.head_size, self.kv_heads * self.head_size
        sizes = dict.fromkeys(("gate_proj", "up_proj", "down_proj"), (self.hidden, self.intermediate))
        sizes |= {"q_proj": (self.hidden, query), "o_proj": (self.hidden, query)}
        sizes |= {"k_proj": (self.hidden, key), "v_proj": (self.hidden, key)}
        one = sum(a * b if rank is None else rank * (a + b) for a, b in (sizes[name] for name in names))
        return depth * one


def model_shape(settings: BackboneSettings) -> ModelShape:
    """The sizes of the model that the settings name.

    Raises `OSError` if its configuration cannot be found, and `ModelError` if its heads cannot be read.
    """
    config = load_config(settings)
    check_decoder(config, settings.model)
    with torch.device("meta"):
        model = AutoModel.from_config(
            config, dtype=DTYPES[settings.dtype], attn_implementation=ATTENTION_NAME, trust_remote_code=False
        )
    return _shape(model, DTYPES[settings.dtype])


def backbone_shape(backbone: Backbone) -> ModelShape:
    """The sizes of a loaded model's layers. For a mixture of experts all experts are counted."""
    return _shape(backbone.model, backbone.model.dtype)


def _shape(model: PreTrainedModel, dtype: torch.dtype) -> ModelShape:
    text = model.config.get_text_config(decoder=True)
    layers: Any = model.get_decoder().layers
    by_layer = tuple(sum(parameter.numel() for parameter in layer.parameters()) for layer in layers)
    heads = int(text.num_attention_heads)
    return ModelShape(
        layer_parameters=by_layer,
        other_parameters=sum(parameter.numel() for parameter in model.parameters()) - sum(by_layer),
        hidden=int(text.hidden_size),
        intermediate=int(text.intermediate_size),
        heads=heads,
        kv_heads=int(getattr(text, "num_key_value_heads", None) or heads),
        head_size=int(getattr(text, "head_dim", None) or text.hidden_size // heads),
        max_tokens=getattr(text, "max_position_embeddings", None),
        number_bytes=dtype.itemsize,
    )


@dataclass(frozen=True, slots=True)
class ReadingFlops:
    """Floating-point operations of reading one list, without padding."""

    layers: int  # matrix products of the layers computed whole
    attention: int  # their scores and values, for the pairs of tokens that attend
    deepest: int  # keys and query rows of the deepest layer, unless it is computed whole
    readout: int  # rows x keys of the read heads, and their sums

    @property
    def total(self) -> int:
        """The sum of all parts."""
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
    """The operations of reading these heads under all tails of a prompt (the query's, and the null query's if any).

    A whole layer takes 2 x parameters x T, and 4 H D for each pair of a token and a key that it attends to (T (T + 1) /
    2 pairs if causal). The deepest layer takes 2 d D for each token and kv head in use, and for each row and read head.
    The readout takes 2 S (R D + U R + U N) per head: scores, weighted sum of rows, sum per passage. Symbols: T computed
    tokens, S keys, N passages, U tails, R rows (query tokens) of all tails, d hidden size, H heads of size D.

    Args:
        shape: the sizes of the model.
        prompt: the prompt that is read.
        heads: the heads that are read.
        query_rows: which tokens of a tail are read, see `Tail.rows`.
        depth: the number of layers computed whole. None, the reader's default: the layers below the deepest head's
            layer; of that layer only what is read is computed.
        stored: whether the passages' states are stored, so that only the tails pass through the layers.
    """
    prefix, tails = prompt.size
    rows = sum(_length(tail.rows(query_rows)) for tail in prompt.tails)
    layers = by_layer(heads)
    last = max(layers)
    whole = last if depth is None else depth
    computed = tails if stored else prefix + tails
    read = sum(len(members) for members in layers.values())
    # The keys of each row: the whole prefix and all tails, including those that the mask hides.
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


def fully_computed_layers(backbone: Backbone) -> int | None:
    """The argument `depth` of `reading_flops` for this backbone.

    It is None if the deepest layer computes only what is read, else the number of loaded layers.
    """
    reads_only = backbone.config.model_type in FAMILIES and not backbone.settings.whole_deepest
    return None if reads_only else backbone.depth


def _pairs(prompt: Prompt, *, stored: bool) -> int:
    prefix = prompt.size[0]
    within = 0
    if not stored and prompt.blocks:
        # Every block is computed together with the opening before it.
        within = sum(_triangle(prompt.opening + _length(block)) for block in prompt.blocks)
    elif not stored:
        within = _triangle(prefix)
    return within + sum(len(tail.ids) * prefix + _triangle(len(tail.ids)) for tail in prompt.tails)


def _triangle(tokens: int) -> int:
    return tokens * (tokens + 1) // 2


def _length(span: Span) -> int:
    return span.end - span.start
