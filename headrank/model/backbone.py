"""Load and save the backbone: a decoder's layers up to the deepest one that is read, with its tokenizer.

Only these layers are built and read from disk. Supported are the models that transformers' `AutoModel` opens and whose
attention uses its attention interface: Qwen3, Llama, Qwen2, Mistral, Gemma. No language-model head, no logits.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from headrank.errors import ModelError
from headrank.logs import quiet_model_loading
from headrank.model.attention import ATTENTION_NAME
from headrank.model.last_layer import prepare_layers
from headrank.model.loading.checks import (
    check_decoder,
    check_loaded,
    check_overrides,
    check_tokenizer,
    check_weight_files,
    family_config,
    read_config,
    read_tokenizer,
)
from headrank.model.loading.compiled import compile_parts
from headrank.model.loading.default_model import EMBEDDED_MODEL
from headrank.model.loading.devices import check_device, check_kernel, parse_device
from headrank.model.loading.folder import CONFIG, TOKENIZER, WEIGHTS, is_local, model_folder
from headrank.settings import one_of, settings, wrong

logger = logging.getLogger(__name__)

KERNELS = ("sdpa", "flash_attention_2", "flash_attention_3")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@settings
class BackboneSettings:
    """The settings of loading a model."""

    model: str = EMBEDDED_MODEL  # the embedded model's name, a local folder, or a Hugging Face hub id
    revision: str | None = None  # hub revision (a commit hash pins it); None is the hub's main
    dtype: Annotated[str, one_of(DTYPES)] = "float32"  # float32 | bfloat16 | float16
    device: str = "auto"  # auto (cuda if there is one, else cpu), cpu, cuda, cuda:1, ...
    kernel: Annotated[str, one_of(KERNELS)] = "sdpa"  # sdpa | flash_attention_2 | flash_attention_3
    compile: bool = False  # torch.compile the MLPs and norms, for reading on GPUs; the first pass is slow
    whole_deepest: bool = False  # compute the whole deepest layer instead of what is read of it, for comparison
    random_weights: bool = False  # build the architecture with seeded random weights: for speed and debugging only
    overrides: dict[str, Any] | None = None  # replaces fields of the model's config, with random_weights only
    family: str | None = None  # with random_weights: a model type such as qwen3, instead of reading a config

    def __post_init__(self) -> None:
        parse_device(self.device)
        for name in ("overrides", "family"):
            if getattr(self, name) and not self.random_weights:
                raise wrong(name, getattr(self, name), "null, or random_weights: true: it changes the architecture")

    @property
    def hub_revision(self) -> str | None:
        """The requested hub revision; None for a local folder and the embedded model."""
        local = self.model == EMBEDDED_MODEL or is_local(self.model)
        return None if local else self.revision

    @property
    def required_files(self) -> tuple[str, ...]:
        """The files that loading opens: those of `CONFIG`, `TOKENIZER` and `WEIGHTS` that these settings need."""
        return (*(() if self.family else (CONFIG,)), TOKENIZER, *(() if self.random_weights else (WEIGHTS,)))

    def folder(self, *kinds: str) -> Path:
        """Return the local folder of the model, downloaded if needed.

        kinds: the files it must hold (`CONFIG`, `TOKENIZER`, `WEIGHTS`). Default: all files that loading opens.
        """
        return model_folder(self.model, self.revision, required=kinds or self.required_files)

    @property
    def torch_device(self) -> str:
        """The name of the device; `auto` becomes cuda if torch finds a GPU, else cpu."""
        return str(parse_device(self.device))


@dataclass(slots=True)
class Backbone:
    """A loaded decoder. `layers` counts the layers of the whole model, `depth` the loaded ones."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    layers: int
    settings: BackboneSettings

    def __post_init__(self) -> None:
        prepare_layers(self.model)

    @property
    def depth(self) -> int:
        """The number of loaded layers."""
        return int(self.config.num_hidden_layers)

    @property
    def config(self) -> PreTrainedConfig:
        """The text decoder's configuration."""
        return self.model.config.get_text_config(decoder=True)

    @property
    def heads_per_layer(self) -> int:
        """The number of query heads per layer."""
        return int(self.config.num_attention_heads)

    @property
    def max_tokens(self) -> int | None:
        """The longest supported context in tokens; None if the configuration does not limit it."""
        return context_limit(self.config)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.device


def context_limit(config: PreTrainedConfig) -> int | None:
    """Return the longest context in tokens, with RoPE scaling; None if the configuration does not limit it."""
    positions = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or {}
    original, factor = rope.get("original_max_position_embeddings"), rope.get("factor")
    if positions is None or not original or not factor or rope.get("rope_type") not in ("yarn", "linear", "dynamic"):
        return positions
    return max(int(positions), int(original * factor))


def load_backbone(settings: BackboneSettings, *, depth: int | None = None) -> Backbone:
    """Load a model cut to its first `depth` layers (None: all layers), in evaluation mode.

    Raises `ModelError` if `depth` exceeds the model or the model is not supported (see `loading/checks.py`), before
    weights are read, and if the weights that were read do not fit the model (missing, extra, of another shape). Raises
    `ConfigError` if the device or the kernel is not available, and `FileNotFoundError` or `OSError` if the model cannot
    be found or downloaded.
    """
    config, tokenizer, layers = check_backbone(settings, depth=depth)
    dtype = DTYPES[settings.dtype]
    if settings.random_weights:
        with torch.random.fork_rng(devices=[]):  # drawn on the CPU: the same weights on every device
            torch.manual_seed(0)
            model = AutoModel.from_config(
                config, dtype=dtype, attn_implementation=ATTENTION_NAME, trust_remote_code=False
            )
    else:
        model = load_weights(AutoModel, settings, config, attention=ATTENTION_NAME)
    backbone = Backbone(model.to(settings.torch_device).eval(), tokenizer, layers, settings)
    if settings.compile:
        compile_parts(backbone.model)
    return backbone


def check_backbone(
    settings: BackboneSettings, *, depth: int | None = None
) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase, int]:
    """Check everything that `load_backbone` needs, without reading weights. The arguments are the same.

    Returns the configuration cut to `depth`, the tokenizer, and the number of layers of the whole model. Raises the
    same errors as `load_backbone`.
    """
    check_device(settings.device)
    check_kernel(settings.kernel)
    config = load_config(settings)
    layers, _ = _decoder_shape(config, settings)
    if depth is not None and not 1 <= depth <= layers:
        raise ModelError(f"depth {depth} is not within {settings.model}, which has {layers} layers")
    cut_config(config.get_text_config(decoder=True), depth or layers)
    check_decoder(config, settings.model)
    tokenizer = load_tokenizer(settings)
    check_tokenizer(tokenizer, config, settings.model)
    if not settings.random_weights:
        check_weight_files(settings.folder(), config)
    # `save_backbone` records how many layers the model had before it was cut.
    return config, tokenizer, int(getattr(config, "headrank_full_layers", layers))


def load_weights(kind: Any, settings: BackboneSettings, config: PreTrainedConfig, *, attention: str) -> Any:
    """Load the checkpoint of `settings` and return the model. Its files are not checked first (see `check_backbone`).

    kind: one of transformers' auto classes. config: the configuration with the number of layers to load. attention: the
    name of transformers' attention implementation.

    Raises `ModelError` if weights are missing, have another shape, or do not belong to any module of a layer in use,
    and `OSError` if they cannot be downloaded.
    """
    with quiet_model_loading():
        try:
            model, info = kind.from_pretrained(
                settings.folder(),
                config=config,
                dtype=DTYPES[settings.dtype],
                attn_implementation=attention,
                use_safetensors=True,  # never a pickle, which can run code
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # listed in the loading information, and refused there
            )
        except (ValueError, ImportError) as error:  # a quantized checkpoint needs packages
            reason = " ".join(str(error).split())
            raise ModelError(f"{settings.model}: transformers cannot open it: {reason}") from error
    check_loaded(info, settings.model, config.get_text_config(decoder=True).num_hidden_layers)
    return model


def load_tokenizer(settings: BackboneSettings) -> PreTrainedTokenizerBase:
    """Load the tokenizer without reading weights. Raises `ModelError` if it cannot be opened."""
    return read_tokenizer(settings.folder(TOKENIZER))


def save_backbone(backbone: Backbone, folder: Path) -> None:
    """Write the model (safetensors) and tokenizer to a folder that `AutoModel.from_pretrained` can open."""
    backbone.model.config.headrank_full_layers = backbone.layers
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)


def count_layers(settings: BackboneSettings) -> tuple[int, int]:
    """Return (layers, heads per layer) from the model's configuration; no weights are read."""
    return _decoder_shape(load_config(settings), settings)


def count_parameters(settings: BackboneSettings, depth: int | None = None) -> int:
    """Count the weights of the first `depth` layers (None: all) and the embeddings, from the configuration alone."""
    config = load_config(settings)
    layers, _ = _decoder_shape(config, settings)
    cut_config(config.get_text_config(decoder=True), depth or layers)
    with torch.device("meta"):  # shapes only, no memory
        model = AutoModel.from_config(config, trust_remote_code=False)
    return sum(parameter.numel() for parameter in model.parameters())


def cut_config(config: PreTrainedConfig, depth: int) -> None:
    """Cut a configuration to `depth` layers, in place: `num_hidden_layers`, `layer_types` and `max_window_layers`.

    Raises `ModelError` if the family's configuration does not allow it.
    """
    try:
        config.num_hidden_layers = depth
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:depth]
        if getattr(config, "max_window_layers", None) is not None:
            config.max_window_layers = min(config.max_window_layers, depth)
    except AttributeError as error:
        raise ModelError(f"models of type {config.model_type} cannot be cut to their first layers: {error}") from error


def _decoder_shape(config: PreTrainedConfig, settings: BackboneSettings) -> tuple[int, int]:
    text = config.get_text_config(decoder=True)
    layers, heads = (getattr(text, name, None) for name in ("num_hidden_layers", "num_attention_heads"))
    if not isinstance(layers, int) or not isinstance(heads, int):
        raise ModelError(f"{settings.model} ({text.model_type}): {layers} layers of {heads} heads; expected a decoder")
    return layers, heads


def masks_by_kind(backbone: Backbone, make: Callable[[int | None], Tensor]) -> Tensor | dict[str, Tensor]:
    """Return the attention masks as transformers expects them: one mask, or one per type of layer.

    With several types it is a dict such as {"full_attention": mask, "sliding_attention": mask}. `make` takes the width
    of the sliding window in tokens (None: full attention) and returns the mask. Raises `ValueError` for layers that
    have neither full nor sliding attention.
    """
    config = backbone.config
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    unknown = kinds - {"full_attention", "sliding_attention"}
    if unknown:
        raise ValueError(f"{backbone.settings.model}: layers of kind {sorted(unknown)} have no readable attention")
    if kinds <= {"full_attention"} and not (window and not kinds):
        return make(None)
    if len(kinds) <= 1:
        return make(window)
    return {"full_attention": make(None), "sliding_attention": make(window)}


def load_config(settings: BackboneSettings) -> PreTrainedConfig:
    """Return the model's configuration with the overrides of the settings; no weights are read.

    Raises `ModelError` if it is invalid, and `OSError` (such as `FileNotFoundError`) if it cannot be found.
    """
    overrides = dict(settings.overrides or {})
    if settings.family is not None:
        check_overrides(family_config(settings.family), overrides)
        return AutoConfig.for_model(settings.family, **overrides)
    config = read_config(settings.folder(CONFIG))
    if overrides:
        check_overrides(config, overrides)
        fields = {**config.to_dict(), **overrides}
        if "num_hidden_layers" in overrides and "layer_types" not in overrides:
            fields.pop("layer_types", None)  # one per layer: the family's rule derives them again
        config = type(config).from_dict(fields)
    return config
