"""Check that a checkpoint belongs to the module that resumes from it.

A checkpoint holds only the trained tensors and plain values. Among these is an identity: the model, heads and settings
of the module (`AlignmentModule.identity`). The frozen backbone is loaded from its source, so a checkpoint must not be
resumed with another backbone.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

KEY = "headrank"
"""The entry of a Lightning checkpoint that holds this project's values."""


def check_identity(found: Mapping[str, Any] | None, expected: Mapping[str, Any]) -> None:
    """Compare the identity in a checkpoint with that of the module.

    Args:
        found: the checkpoint's identity; None if it has none.
        expected: the module's identity.

    Raises:
        ValueError: `found` is None, or a value of `expected` differs from it; the message names the differences.
    """
    if found is None:
        raise ValueError("expected a checkpoint of headrank's alignment, found one without its model and heads")
    differing = [
        f"{name}: {found.get(name)} in the checkpoint, {value} here"
        for name, value in expected.items()
        if found.get(name) != value
    ]
    if differing:
        raise ValueError(
            "the checkpoint belongs to another model or other settings; load those that it was trained with, or remove "
            "it to train from the start. " + "; ".join(differing)
        )


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise `ValueError` unless a checkpoint's tensors have the names and shapes of the trained ones.

    Args:
        found: parameter name -> tensor of the checkpoint.
        expected: parameter name -> trained tensor.
    """
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unknown:
        raise ValueError(
            f"the checkpoint lacks {len(missing)} trained tensors (such as {missing[:1]}) and holds {len(unknown)} "
            f"that are not trained here (such as {unknown[:1]})"
        )
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise ValueError(
                f"the checkpoint's {name} has shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
            )
