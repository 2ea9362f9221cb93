"""Check that a heads file belongs to a model.

Heads are (layer, head) indices. In another model the same indices are other heads.
"""

import warnings
from dataclasses import replace
from typing import Any

from headrank.errors import ModelError
from headrank.heads.heads_file import HeadsFile
from headrank.model import BackboneSettings, describe_model


def check_shape(file: HeadsFile, *, layers: int, heads_per_layer: int, name: str) -> None:
    """Raise `ModelError` if the heads were selected in a model with another number of layers or of heads per layer.

    Args:
        file: the heads file.
        layers: the number of layers of the model that will use the heads.
        heads_per_layer: its number of heads in each layer.
        name: its name, for the message.
    """
    expected = (int(file.model["layers"]), int(file.model["heads_per_layer"]))
    if expected != (layers, heads_per_layer):
        raise ModelError(
            f"expected heads of {name!r} ({layers} layers of {heads_per_layer} heads), found heads selected in another "
            f"{file.model.get('id')!r} ({expected[0]} layers of {expected[1]} heads); select heads in this model"
        )


def check_model(file: HeadsFile, settings: BackboneSettings, *, in_model_folder: bool = False) -> HeadsFile:
    """Check that a heads file fits a model.

    The numbers of layers and heads must be equal. Then the models are compared by the fingerprint of their weights if
    both have one, because one model may have several paths; otherwise by id and revision. If they differ, a warning is
    issued.

    Args:
        file: the heads file.
        settings: the model that will use the heads.
        in_model_folder: whether the file is in the model's own folder; then only the numbers of layers and heads are
            checked.

    Returns:
        The heads file. If the models differ, its probability calibrations are None, because scores have another unit in
        another model.

    Raises:
        ModelError: the numbers of layers or heads differ.
    """
    model = describe_model(settings, file.depth, weights=False)
    check_shape(file, layers=model["layers"], heads_per_layer=model["heads_per_layer"], name=settings.model)
    if in_model_folder:
        return file
    model = describe_model(settings, file.depth)
    names = ("weights",) if file.model.get("weights") and model["weights"] else ("id", "revision")
    differing = [name for name in names if file.model.get(name) != model[name]]
    if differing:
        warnings.warn(
            f"expected heads of the loaded model ({_named(model, differing)}), found heads selected in another "
            f"model ({_named(file.model, differing)}); select heads in this model, or scores may be meaningless",
            stacklevel=3,
        )
        fusion = None if file.fusion is None else replace(file.fusion, probability=None)
        return replace(file, probability=None, fusion=fusion)
    return file


def _named(model: dict[str, Any], differing: list[str]) -> str:
    return ", ".join(f"{name} {model.get(name)!r}" for name in dict.fromkeys(["id", *differing]))
