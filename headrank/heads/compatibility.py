"""Whether a heads file belongs to a model: heads are numbers of layers and heads, and mean nothing in another model."""

import warnings
from typing import Any

from headrank.errors import ModelError
from headrank.heads.heads_file import HeadsFile
from headrank.model import BackboneSettings, describe_model


def check_shape(file: HeadsFile, *, layers: int, heads_per_layer: int, name: str) -> None:
    """Raise `ModelError` if the heads were chosen in a model with other numbers of layers and heads."""
    expected = (int(file.model["layers"]), int(file.model["heads_per_layer"]))
    if expected != (layers, heads_per_layer):
        raise ModelError(
            f"the heads were chosen in {file.model.get('id')!r}, of {expected[0]} layers of {expected[1]} heads, "
            f"and do not fit {name!r}, of {layers} layers of {heads_per_layer} heads. Expected heads of this model"
        )


def check_model(file: HeadsFile, settings: BackboneSettings, *, own: bool = False) -> None:
    """Raise `ModelError` if the heads do not fit the model's shape; warn if they were chosen in another model.

    If the file holds a fingerprint of the weights, it decides: the same model may lie in several places. Otherwise id
    and revision decide. `own`: the file lies in the model's folder, and only the shape is checked.
    """
    model = describe_model(settings, file.depth, weights=False)
    check_shape(file, layers=model["layers"], heads_per_layer=model["heads_per_layer"], name=settings.model)
    if own:
        return
    model = describe_model(settings, file.depth)
    names = ("weights",) if file.model.get("weights") and model["weights"] else ("id", "revision")
    differing = [name for name in names if file.model.get(name) != model[name]]
    if differing:
        warnings.warn(
            f"the heads were chosen in another model ({_named(file.model, differing)}) than the one that is opened "
            f"({_named(model, differing)}): their scores may mean little here. Select heads in this model",
            stacklevel=3,
        )


def _named(model: dict[str, Any], differing: list[str]) -> str:
    return ", ".join(f"{name} {model.get(name)!r}" for name in dict.fromkeys(["id", *differing]))
