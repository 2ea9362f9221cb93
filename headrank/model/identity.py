"""Identify a model's weights, for artifact keys and heads files."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from headrank.errors import ModelError
from headrank.model.backbone import BackboneSettings, load_config
from headrank.model.loading.default_model import EMBEDDED_MODEL
from headrank.model.loading.folder import in_folder, weight_names

# Values per tensor in the fingerprints: any training changes nearly all of them.
IN_FILES = 64  # the first ones: a file is read in milliseconds
IN_MEMORY = 256  # evenly spaced

_LAYER = re.compile(r"^(?!.*(?:vision|visual|audio)).*?\blayers\.(\d+)\.(.+)$")  # of the text decoder, by any prefix


def model_identity(settings: BackboneSettings) -> dict[str, Any]:
    """Return the values that identify a model in artifact keys: its settings, and for a local folder the files in it.

    A file is identified by name, size and time of change. Markdown files and hidden files are ignored. The revision is
    part of the result only for models from the hub.
    """
    identity: dict[str, Any] = {"settings": replace(settings, revision=settings.hub_revision)}
    folder = Path(settings.model).expanduser()
    if settings.model != EMBEDDED_MODEL and folder.is_dir():
        files = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix != ".md" and p.name[0] != ".")
        identity["files"] = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return identity


def describe_model(settings: BackboneSettings, depth: int, *, weights: bool = True) -> dict[str, Any]:
    """Describe a model for a heads file: id, revision, number of layers, heads per layer, and weights fingerprint.

    The fingerprint covers the first `depth` layers; it is None for random weights or if `weights` is false.
    """
    config = load_config(settings)
    text = config.get_text_config(decoder=True)
    return {
        "id": settings.model,
        "revision": settings.hub_revision,
        "layers": int(getattr(config, "headrank_full_layers", text.num_hidden_layers)),
        "heads_per_layer": int(text.num_attention_heads),
        "weights": weights_fingerprint(settings.folder(), depth) if weights and not settings.random_weights else None,
    }


def weights_fingerprint(folder: Path, depth: int) -> str:
    """Hash the names, shapes and sampled values of the first `depth` layers' weights, read from a folder's files.

    A copy of the model has the same fingerprint, even if it was cut to these layers or saved in bfloat16, because
    values are rounded to bfloat16. It takes milliseconds. Raises `ModelError` for a damaged file.
    """
    found: dict[str, tuple[list[int], bytes]] = {}
    for name in weight_names(in_folder(folder)):
        try:
            with safe_open(folder / name, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 (not a dict)
                    layer = _LAYER.match(key)
                    if layer is not None and int(layer[1]) < depth:
                        part = file.get_slice(key)
                        shape = list(part.get_shape())
                        found[f"{layer[1]}.{layer[2]}"] = (shape, _sample(part[:1] if len(shape) > 1 else part[:]))
        except SafetensorError as error:
            raise ModelError(f"{folder / name}: damaged or cut ({error}). Copy or download the file again") from error
    return _digest(found)


@torch.no_grad()
def loaded_fingerprint(model: nn.Module, depth: int) -> str:
    """Hash the names, shapes and sampled values of a loaded model's parameters, except those of layers >= `depth`.

    Unlike `weights_fingerprint` it covers the embeddings and does not round values to bfloat16, so it changes with the
    dtype in which the model was loaded. Call it before adapters are added.
    """
    found: dict[str, tuple[tuple[int, ...], bytes]] = {}
    for name, tensor in model.named_parameters():
        layer = _LAYER.match(name)
        if layer is None or int(layer[1]) < depth:
            flat = tensor.flatten()
            values = flat[:: max(1, len(flat) // IN_MEMORY)].float()
            found[name] = (tuple(tensor.shape), values.cpu().numpy().tobytes())
    return _digest(found)


def _digest(found: Mapping[str, tuple[Sequence[int], bytes]]) -> str:
    """A hash of tensors: name -> (shape, sampled values)."""
    digest = hashlib.sha256()
    for name, (shape, values) in sorted(found.items()):
        digest.update(f"{name}{shape}".encode() + values)
    return digest.hexdigest()[:32]


def _sample(values: Tensor) -> bytes:
    values = values.flatten()[:IN_FILES]
    if values.is_floating_point():
        values = values.to(torch.bfloat16)
    return values.view(torch.uint8).numpy().tobytes()
