"""Count the floating-point operations of a reading, and estimate the memory of reading and training.

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
    """The sizes of a decoder: its numbers of parameters, and the sizes that determine its activations."""

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
        """Return the bytes of the weights of the first `depth` layers and the embeddings."""
        return self.number_bytes * (self.other_parameters + sum(self.layer_parameters[:depth]))

    def reading_bytes(self, tokens: int) -> int:
        """Estimate the peak memory of a pass that reads T = `tokens` tokens, in bytes, without the weights.

        Only one layer's tensors exist at a time, so the number of layers has no effect. A layer takes these bytes per
        token: 2 d b + 8 d for the residual stream and the norm (in fp32), plus max((3 H + 4 K) D b, 3 i b) for the
        larger of attention and MLP. The readout adds 4 K D bytes per token for one layer's keys in fp32, and blocks of
        attention rows: min(1024 H T, 16 `MAX_BLOCK`) bytes in total.
        """
        b, kv = self.number_bytes, self.kv_heads * self.head_size
        attention = 2 * (self.heads * self.head_size + 2 * kv) + self.heads * self.head_size
        layer = b * (2 * self.hidden + max(attention, 3 * self.intermediate)) + _FLOAT * 2 * self.hidden
        readout = min(4 * MAX_BLOCK, 4 * self.heads * tokens * 64) * _FLOAT + tokens * kv * _FLOAT
        return tokens * layer + readout

    def training_bytes(self, depth: int, tokens: int, trained: int, *, checkpointing: bool) -> int:
        """Estimate the peak memory of training, in bytes, without the weights.

        Each trained parameter takes 16 bytes: adapter, gradient and AdamW's two moments, in fp32. (For matrices that
        are trained in place this is 4 bytes too many.) The backward pass keeps these bytes per token:

        - a layer below the deepest: d b for its input, 24 d for two norms and the adapters' inputs in fp32, 4 H D b for
          queries, keys, values and output of attention (keys and values repeated for each head), 4 (H + K) D for
          queries and keys before their norm in fp32, and 3 i b for the MLP;
        - the deepest layer: d b + 8 d for its input and norm, and 12 K D for its keys in fp32 (before and after their
          norm, and for the readout).

        One more layer is counted for the gradients of the layer that is computed backwards. With activation
        checkpointing the layers below the deepest keep only d b each, plus one whole layer that is recomputed.

        Args:
            depth: the number of layers.
            tokens: T.
            trained: the number of trained parameters.
            checkpointing: whether activation checkpointing is on.
        """
        b, width = self.number_bytes, self.heads * self.head_size
        layer = b * (3 * self.intermediate + 4 * width + self.hidden) + _FLOAT * (
            6 * self.hidden + width + self.kv_heads * self.head_size
        )
        deepest = b * self.hidden + _FLOAT * (2 * self.hidden + 3 * self.kv_heads * self.head_size)
        above = (depth - 1) * b * self.hidden + layer if checkpointing else (depth - 1) * layer
        return trained * (_FLOAT + _ADAM) + tokens * (above + deepest + layer)  # one layer computed backwards

    def matrix_parameters(self, names: Sequence[str], depth: int, rank: int | None) -> int:
        """Return the number of parameters of the named matrices in the first `depth` layers.

        Args:
            names: names of a layer's matrices, such as `q_proj` or `gate_proj`.
            depth: the number of layers.
            rank: count the parameters of LoRA adapters of this rank on the matrices; None: count the matrices.
        """
        query, key = self.heads * self.head_size, self.kv_heads * self.head_size
        sizes = dict.fromkeys(("gate_proj", "up_proj", "down_proj"), (self.hidden, self.intermediate))
        sizes |= {"q_proj": (self.hidden, query), "o_proj": (self.hidden, query)}
        sizes |= {"k_proj": (self.hidden, key), "v_proj": (self.hidden, key)}
        one = sum(a * b if rank is None else rank * (a + b) for a, b in (sizes[name] for name in names))
        return depth * one


def model_shape(settings: BackboneSettings) -> ModelShape:
    """Return the sizes of the model that the settings name. No weights are read.

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
    """Return the sizes of a loaded model's layers. For a mixture of experts all experts are counted."""
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
    """The floating-point operations of reading one prompt, without padding."""

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
    """Count the floating-point operations of reading these heads under all tails of a prompt.

    A whole layer takes 2 x parameters x T, and 4 H D for each pair of a token and a key that it attends to (T (T + 1) /
    2 pairs if causal). The deepest layer takes 2 d D for each token and kv head in use, and for each row and read head.
    The readout takes 2 S (R D + U R + U N) per head: scores, weighted sum of rows, sum per passage. Symbols: T computed
    tokens, S keys, N passages, U tails, R rows (query tokens) of all tails, d hidden size, H heads, D head size.

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
    """Return the argument `depth` of `reading_flops` for this backbone.

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
