"""Finds the heads that the user of `Reranker` gave, and checks them against the model."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import torch

from headrank.errors import ConfigError
from headrank.heads import HeadsFile, check_model
from headrank.model import (
    BackboneSettings,
    Head,
    PromptSettings,
    ScorerSettings,
    all_heads,
    count_layers,
    describe_model,
)
from headrank.model.head_scores import check_heads
from headrank.reranker.values import read_whole, shown

HEADS_FILE = "heads.json"


def read_dtype(dtype: str | torch.dtype) -> str:
    """The name of a dtype, given by name or as `torch.dtype`."""
    return str(dtype).removeprefix("torch.")


def find_heads(settings: BackboneSettings, heads: object) -> HeadsFile:
    """The heads that the user gave, checked against the model's configuration.

    Raises `ConfigError` if there are none, `FileNotFoundError` for a file that does not exist, with the closest name,
    `TypeError` for items that are not pairs, `FormatError` for a damaged file, and `ModelError` if the model lacks
    them. Warns if the heads were chosen in another model.
    """
    bundled = Path(settings.model).expanduser() / HEADS_FILE
    if heads is None:
        if not bundled.is_file():
            raise ConfigError(
                f"{settings.model} has no {HEADS_FILE}: give heads=, a heads.json of this model (the select stage of "
                "`python -m headrank.run` writes one), (layer, head) pairs, or 'all'"
            )
        heads = bundled
    if isinstance(heads, str | Path) and str(heads) != "all":
        path = _heads_path(heads)
        file = HeadsFile.load(path)
        check_model(file, settings, own=bundled.is_file() and path.samefile(bundled))
        return file
    if isinstance(heads, HeadsFile):
        check_model(heads, settings)
        return heads
    layers, width = count_layers(settings)
    chosen = all_heads(layers, width) if isinstance(heads, str | Path) else _pairs(heads)
    check_heads(chosen, layers=layers, heads_per_layer=width)
    model = describe_model(settings, max(head.layer for head in chosen) + 1)
    return HeadsFile(model, chosen, (1.0,) * len(chosen), {"name": "given"}, PromptSettings(), ScorerSettings())


def _heads_path(heads: str | Path) -> Path:
    """The heads file: the path itself, or `heads.json` in the folder of a run or a model."""
    path = Path(heads).expanduser()
    if path.is_dir():
        if not (path / HEADS_FILE).is_file():
            raise FileNotFoundError(f"heads is the folder {path}, which has no {HEADS_FILE}")
        return path / HEADS_FILE
    if path.is_file():
        return path
    if difflib.get_close_matches(str(heads).lower(), ["all"], cutoff=0.5):
        raise ConfigError(f"heads is {str(heads)!r}: did you mean 'all'?")
    names = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    hint = f". Did you mean {path.parent / near[0]}?" if near else "; expected a heads.json, pairs, or 'all'"
    raise FileNotFoundError(f"heads is {str(heads)!r}, which is not a file{hint}")


def _pairs(heads: object) -> tuple[Head, ...]:
    if not isinstance(heads, Sequence) or isinstance(heads, bytes):
        raise TypeError(f"heads is {shown(heads)}; expected a heads.json, (layer, head) pairs, or 'all'")
    chosen = []
    for number, pair in enumerate(heads):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"heads[{number}] is {shown(pair)}; expected a (layer, head) pair")
        chosen.append(Head(*(read_whole(part, f"heads[{number}]") for part in pair)))
    return tuple(chosen)
