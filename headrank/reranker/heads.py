"""Read the heads that the user of `Reranker` gave, in any accepted form, and check them against the model."""

import difflib
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path

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

_PAIR = re.compile(r"\d+-\d+")  # layer-head
_PAIRS = re.compile(r"\s*\d+-\d+(?:[\s,]|$)")  # the beginning of several
_SEPARATOR = re.compile(r"[\s,]+")


def read_heads(model: str, heads: object) -> tuple[HeadsFile | tuple[Head, ...] | None, bool]:
    """Read the heads that the user gave, without opening the model.

    Args:
        model: the model's name; if it is a folder, it may hold the heads.
        heads: "all", a `HeadsFile`, the path of a heads file or of a folder with one, heads as `read_pairs` takes them,
            a text of several such as "21-8, 20-3", or None for the heads file in the model's folder.

    Returns:
        A heads file, a tuple of heads, or None for all heads; and whether it is the heads file in the model's folder.

    Raises:
        ConfigError: no heads are given.
        FileNotFoundError: a file does not exist; the message has the closest name.
        TypeError: an item is not a head.
        FormatError: the file is damaged.
    """
    if isinstance(heads, HeadsFile):
        return heads, False
    if isinstance(heads, str | Path) and str(heads) == "all":
        return None, False
    if isinstance(heads, str) and _PAIRS.match(heads) and not Path(heads).exists():
        heads = _SEPARATOR.split(heads.strip())
    if heads is not None and not isinstance(heads, str | Path):
        return read_pairs(heads), False
    bundled = Path(model).expanduser() / HEADS_FILE
    if heads is None and not bundled.is_file():
        raise ConfigError(
            f"{model} has no {HEADS_FILE}: give heads=, a heads.json of this model (the select stage of "
            "`python -m headrank.run` writes one), (layer, head) pairs, or 'all'"
        )
    path = bundled if heads is None else _heads_path(heads)
    return HeadsFile.load(path), bundled.is_file() and path.samefile(bundled)


def fit_heads(settings: BackboneSettings, heads: HeadsFile | tuple[Head, ...] | None, *, own: bool) -> HeadsFile:
    """Return the heads of `read_heads` as a heads file, checked against the model's configuration.

    Args:
        settings: the model.
        heads: a heads file, heads (they get the weight 1 each and default settings), or None for all heads.
        own: whether the heads file is in the model's folder.

    Raises `ModelError` if the model lacks the heads. Warns if they were chosen in another model.
    """
    if isinstance(heads, HeadsFile):
        return check_model(heads, settings, in_model_folder=own)
    layers, width = count_layers(settings)
    heads = all_heads(layers, width) if heads is None else heads
    check_heads(heads, layers=layers, heads_per_layer=width)
    model = describe_model(settings, max(head.layer for head in heads) + 1)
    return HeadsFile(model, heads, (1.0,) * len(heads), {"name": "given"}, PromptSettings(), ScorerSettings())


def set_fusion(file: HeadsFile, fuse: object) -> HeadsFile:
    """Return the heads file with or without its fitted fusion with the first stage.

    fuse: True: with it; False: without it; None: with it if there is one. A weight that was set, not fitted, is kept.

    Raises `ConfigError` if `fuse` is True and the file has no fusion, and `TypeError` for another type.
    """
    if fuse is not None and not isinstance(fuse, bool):
        raise TypeError(f"fuse is {shown(fuse)}; expected True, False or None")
    if file.fusion is not None:
        weight = 0.0 if fuse is False else file.fusion.weight
        return file.with_settings(scorer=replace(file.scorer, fusion=weight))
    if fuse and not file.scorer.fusion_weight:
        raise ConfigError("fuse is True, but no fusion weight was fitted for these heads (scorer.fusion=auto does)")
    return file


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


def read_pairs(heads: object) -> tuple[Head, ...]:
    """Read heads from an iterable of (layer, head) pairs, with integers of Python or numpy, or of texts such as "21-8".

    Raises `TypeError`, which names the item, for anything else, and `ConfigError` if there are no pairs.
    """
    if not isinstance(heads, Iterable) or isinstance(heads, bytes | Mapping | Set):
        raise TypeError(f"heads is {shown(heads)}; expected a heads.json, (layer, head) pairs, or 'all'")
    chosen = []
    for number, item in enumerate(heads):
        pair = item.tolist() if callable(getattr(item, "tolist", None)) else item  # a row of an array
        if isinstance(pair, str) and _PAIR.fullmatch(pair.strip()):
            pair = tuple(map(int, pair.split("-")))
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(
                f"heads[{number}] is {shown(item)}; expected a (layer, head) pair, or a text such as '21-8'"
            )
        chosen.append(Head(*(read_whole(part, f"heads[{number}]") for part in pair)))
    if not chosen:
        raise ConfigError("no heads are given; expected at least one")
    return tuple(chosen)
