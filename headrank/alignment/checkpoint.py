"""What an alignment checkpoint says of itself, and how it is held against the module that is to continue from it.

A checkpoint holds the trained tensors and plain values only: the frozen backbone is loaded from where it came from.
So it must not be continued on another one.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from headrank.alignment.adapters import decoder_layers, layer_of

KEY = "headrank"
"""Where in a Lightning checkpoint this project's values are."""

SAMPLE = 64  # values of each tensor that go into the fingerprint: enough to tell models apart, milliseconds to read


@torch.no_grad()
def fingerprint(model: PreTrainedModel, depth: int) -> str:
    """A hash of names, shapes and some values of the weights up to `depth` layers; taken before training."""
    layers, digest = decoder_layers(model), hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        layer = layer_of(name, layers)
        if layer is not None and layer >= depth:
            continue
        values = tensor.flatten()[:SAMPLE].float().cpu()
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + values.numpy().tobytes())
    return digest.hexdigest()[:32]


def check_identity(found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> None:
    """Raise `ValueError`, naming what differs, unless a checkpoint was written by a module like this one."""
    if found is None:
        raise ValueError("the checkpoint is not one of headrank's alignment: it says nothing of model and heads")
    differing = [
        f"{name}: {found.get(name)} in the checkpoint, {value} here"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
    if differing:
        raise ValueError(
            "the checkpoint does not belong to this model and these settings; load what it was trained with, or start "
            "anew. " + "; ".join(differing)
        )


def check_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise `ValueError` unless a checkpoint's tensors are the trained ones, in name and shape."""
    missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or unknown:
        raise ValueError(
            f"the checkpoint lacks {len(missing)} trained tensors (such as {missing[:1]}) and holds {len(unknown)} "
            f"that are not trained here (such as {unknown[:1]})"
        )
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            raise ValueError(
                f"the checkpoint's {name} has shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
            )
