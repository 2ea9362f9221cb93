"""Raise errors for models that are not supported or would be read wrongly, if possible before weights are read.

A model's files are not trusted. Code in a model's repository never runs, and hub kernels named in its configuration are
never downloaded. Missing weights are an error, because transformers would initialise them randomly.
"""

import copy
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from headrank.errors import ConfigError, ModelError
from headrank.model.chat_templates import CHAT_TEMPLATES
from headrank.model.loading.folder import CONFIG, in_folder, weight_names
from headrank.model.readout import ATTENTION_NAME
from headrank.settings import meant

READABLE = ("full_attention", "sliding_attention")
"""The kinds of layers whose attention can be read, as named in transformers' `layer_types`."""

SHOWN = 5  # maximum number of names in a message
_LAYER = re.compile(r"(?:(?:model|language_model|decoder)\.)*layers\.(\d+)\.")
_DERIVED = ("inv_freq", "masked_bias")  # buffers in old checkpoints that the model computes
_FLOATS = ("F64", "F32", "F16", "BF16")  # safetensors' names of unquantized dtypes


def read_config(folder: Path) -> PreTrainedConfig:
    """Read the configuration in a model's folder, with transformers' default attention.

    Raises `ModelError`, naming the file, if the file is damaged, the model type is unknown to transformers or needs the
    repository's code, or the folder holds an adapter.
    """
    path = folder / CONFIG
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        raise ModelError(
            f"{adapter}: the folder holds an adapter. Expected a whole model: merge the adapter first (peft's "
            "`merge_and_unload()`, then `save_pretrained`)"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))  # like transformers: some files contain Infinity
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON ({type(error).__name__}: {error}). Copy the file again") from error
    kind = content.get("model_type") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        code = isinstance(content, dict) and "auto_map" in content
        why = "it needs code that comes with the model (auto_map), which never runs here" if code else "it is not known"
        raise ModelError(f"{path}: model_type is {kind!r}: {why}. Expected a model type of the installed transformers")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # transformers validates fields with errors of several kinds
        raise ModelError(f"{path}: transformers cannot read it: {_line(error)}") from error
    # A configuration may name a hub kernel, which is code. The settings alone choose the kernel.
    config._attn_implementation = None
    config._experts_implementation = None
    return config


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Open the tokenizer in a model's folder. Raises `ModelError` if it is damaged or needs the repository's code."""
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise errors of several kinds
        raise ModelError(f"{folder}: the tokenizer cannot be opened: {_line(error)}") from error


def check_decoder(config: PreTrainedConfig, name: str) -> None:
    """Raise `ModelError` unless the model is a decoder whose heads can be read in every layer.

    The model is built on the meta device, without memory for weights. `config` has the number of layers in use; `name`
    is the model's name for the error.
    """
    text = config.get_text_config(decoder=True)
    kinds = sorted(set(getattr(text, "layer_types", None) or ()) - set(READABLE))
    expected = "expected a decoder with causal attention such as Qwen3, Llama, Mistral or Gemma 3"
    if kinds:
        raise ModelError(f"{name} ({text.model_type}): layers of kind {', '.join(kinds)} have no readable attention")
    if getattr(text, "attn_logit_softcapping", None) is not None:
        raise ModelError(
            f"{name} ({text.model_type}): attn_logit_softcapping is {text.attn_logit_softcapping}, expected null: "
            f"capped attention logits are not supported; {expected}"
        )
    try:
        with torch.device("meta"):  # shapes alone, no memory
            model = AutoModel.from_config(
                copy.deepcopy(config), attn_implementation=ATTENTION_NAME, trust_remote_code=False
            )
        layers = getattr(model.get_decoder(), "layers", None)
    except Exception as error:  # families validate their fields with different errors
        raise ModelError(f"{name} ({text.model_type}) cannot be built: {error}; {expected}") from error
    attention = [getattr(layer, "self_attn", None) for layer in layers] if isinstance(layers, nn.ModuleList) else []
    readable = [
        getattr(part, "is_causal", False) is True and getattr(part, "layer_idx", None) is not None for part in attention
    ]
    if not model._supports_attention_backend:
        raise ModelError(f"{name} ({text.model_type}): its attention does not use transformers' interface; {expected}")
    if config.is_encoder_decoder or not attention or not all(readable):
        raise ModelError(f"{name} ({text.model_type}): its attention cannot be read; {expected}")
    if any(hasattr(part, "sinks") for part in attention):
        raise ModelError(f"{name} ({text.model_type}): attention sinks as parameters are not supported; {expected}")


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, name: str) -> None:
    """Raise `ModelError` if the tokenizer can produce an id without an embedding in the model.

    Added tokens beyond the embeddings are accepted if no template contains them (Gemma 3's image token); inside texts
    they are plain text. `config` has the number of embeddings; `name` is the model's name for the error.
    """
    rows = int(config.get_text_config(decoder=True).vocab_size)
    vocabulary: dict[str, int] = tokenizer.get_vocab()  # pyright: ignore[reportCallIssue, reportOptionalCall]
    added = set(tokenizer.get_added_vocab())  # pyright: ignore[reportCallIssue, reportOptionalCall]
    frames = "".join(f"{one.head}{one.tail}" for one in CHAT_TEMPLATES.values()) + str(tokenizer.chat_template)
    named = {getattr(tokenizer, f"{kind}_token", None) for kind in ("bos", "eos", "unk", "pad", "sep", "cls")}
    beyond = {
        token: number
        for token, number in vocabulary.items()
        if number >= rows and (token not in added or not token.strip() or token in frames or token in named)
    }
    if beyond:
        first = _first(f"{token!r} = {beyond[token]}" for token in sorted(beyond, key=beyond.__getitem__))
        raise ModelError(
            f"{name}: the tokenizer gives {len(beyond)} ids for which the model has no embedding ({first}): its "
            f"vocab_size is {rows}. Expected the tokenizer of this very model"
        )


def check_weight_files(folder: Path, config: PreTrainedConfig) -> None:
    """Raise `ModelError`, naming the file, for a damaged or truncated safetensors file and for weights in other files.

    Integer and 8-bit weights also raise it, unless `config` describes the quantization. Only the headers of the files
    in `folder` are read.
    """
    elsewhere = getattr(config, "transformers_weights", None)
    if elsewhere is not None or any(folder.glob("shard-*-model-*.safetensors")):
        raise ModelError(f"{folder}: weights in {elsewhere or 'distributed shards'}; expected model.safetensors")
    plain = getattr(config, "quantization_config", None) is None
    for name in weight_names(in_folder(folder)):
        try:
            with safe_open(folder / name, framework="pt") as file:
                names = [key for key in file.keys() if key.endswith("weight")]  # noqa: SIM118 (not a dict)
                types = {key: file.get_slice(key).get_dtype() for key in names}
        except SafetensorError as error:
            raise ModelError(f"{folder / name}: damaged or cut ({error}). Copy or download the file again") from error
        other = [f"{key} {kind}" for key, kind in sorted(types.items()) if kind not in _FLOATS]
        if plain and other:
            raise ModelError(
                f"{folder / name}: {len(other)} weights are quantized ({_first(other)}), and {CONFIG} has no "
                f"quantization_config; expected {', '.join(_FLOATS)}. Use the checkpoint that is not quantized"
            )


def check_loaded(info: Mapping[str, Iterable[Any]], name: str, depth: int | None = None) -> None:
    """Raise `ModelError` unless the files hold exactly the weights of the layers in use.

    Extra weights of these layers (such as a bias or a scale that the configuration does not mention) are an error,
    because the model would compute something else without them. Other unused weights (of higher layers, or of the
    language-model head) are accepted.

    info: transformers' loading information. name: the model's name for the error. depth: the number of decoder layers
    in use; None: extra weights of any layer are accepted.
    """
    shapes = {key: f"{tuple(found)} instead of {tuple(expected)}" for key, found, expected in info["mismatched_keys"]}
    missing = sorted(set(info["missing_keys"]) - set(shapes))
    unused = sorted(key for key in info["unexpected_keys"] if depth is None or _layer(key) < depth)
    problems = [f"{len(missing)} missing ({_first(missing)})"] if missing else []
    if shapes:
        problems.append(f"{len(shapes)} of another shape ({_first(f'{key} {shapes[key]}' for key in sorted(shapes))})")
    in_layers = [key for key in unused if _layer(key) >= 0 and not key.endswith(_DERIVED)]
    if not problems and (depth is None or not in_layers):
        return
    if unused:
        named = unused if problems else in_layers  # a wrong prefix shows in all of them
        problems.append(f"{len(named)} in the files that the model does not have ({_first(named)})")
    raise ModelError(
        f"{name}: weights do not fit the model: {'; '.join(problems)}. Expected exactly the weights of the layers in "
        "use; only model.random_weights=true makes random ones"
    )


def _layer(key: str) -> int:
    """The index of the decoder layer that a weight belongs to; -1 if it belongs to none."""
    found = _LAYER.match(key)
    return int(found.group(1)) if found else -1


def _line(error: Exception) -> str:
    """An error's type and message in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _first(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def family_config(family: str) -> PreTrainedConfig:
    """Return the default configuration of a model type. Raises `ConfigError` for a type unknown to transformers."""
    if family not in CONFIG_MAPPING:
        known = list(CONFIG_MAPPING.keys())
        raise ConfigError(f"model.family is {family!r}, expected a model type of transformers{meant(family, known)}")
    return CONFIG_MAPPING[family]()


def check_overrides(config: PreTrainedConfig, overrides: Mapping[str, Any]) -> None:
    """Raise `ConfigError` if `overrides` has a key that is not a field of `config`; transformers would ignore it."""
    known = {*config.to_dict(), *config.attribute_map, *inspect.signature(type(config).__init__).parameters}
    for name in overrides:
        if name not in known:
            kind = type(config).__name__
            raise ConfigError(f"model.overrides.{name}: expected a field of {kind}{meant(name, known)}")
