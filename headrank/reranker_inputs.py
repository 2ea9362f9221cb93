"""Checks the inputs of `Reranker`. Errors name the wrong item."""

import difflib
import operator
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

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
from headrank.ranking import CandidateList, Passage, Query

HEADS_FILE = "heads.json"


def expect_type(value: object, kinds: type | tuple[type, ...], name: str) -> Any:
    """The value. Raises `TypeError` with the name unless the value has one of these types."""
    if not isinstance(value, kinds):
        expected = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise TypeError(f"{name} is {_shown(value)}; expected {expected}")
    return value


def read_passages(passages: object, name: str = "passages") -> tuple[Passage, ...]:
    """Passages with ids: texts get their positions as ids, a mapping holds ids and texts.

    Raises `TypeError`, which names the passage, for anything else, and `ValueError` for one text instead of several.
    """
    if isinstance(passages, str):
        raise ValueError(f"{name} is one text; expected a sequence of texts or passages, or a mapping of ids to texts")
    if isinstance(passages, Mapping):
        return tuple(
            Passage(str(key), expect_type(text, str, f"the text of {name}[{key!r}]")) for key, text in passages.items()
        )
    if not isinstance(passages, Iterable) or isinstance(passages, bytes | Set):
        raise TypeError(f"{name} is {_shown(passages)}; expected a sequence of texts or passages, or a mapping")
    return tuple(_passage(item, number, name) for number, item in enumerate(passages))


def _passage(item: object, number: int, name: str) -> Passage:
    if isinstance(item, str):
        return Passage(str(number), item)
    if not isinstance(item, Passage):
        raise TypeError(f"{name}[{number}] is {_shown(item)}; expected a text or Passage(id, text)")
    expect_type(item.id, str, f"the id of {name}[{number}]")
    expect_type(item.text, str, f"the text of {name}[{number}], id {item.id!r},")
    return item


def read_lists(lists: object) -> list[CandidateList]:
    """(query, passages) pairs as candidate lists, numbered. Raises `TypeError`, which names the item, for others."""
    if isinstance(lists, str | bytes | Mapping) or not isinstance(lists, Iterable):
        raise TypeError(f"lists is {_shown(lists)}; expected a sequence of (query, passages) pairs")
    read = []
    for number, item in enumerate(lists):
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise TypeError(f"lists[{number}] is {_shown(item)}; expected a (query, passages) pair")
        query = expect_type(item[0], str, f"the query of lists[{number}]")
        read.append(
            CandidateList(Query(str(number), query), read_passages(item[1], f"the passages of lists[{number}]"))
        )
    return read


def read_count(top_k: object) -> int | None:
    """`top_k` as a number. Raises `TypeError` unless it is whole or None, and `ConfigError` below 1."""
    if top_k is None:
        return None
    count = _whole(top_k, "top_k")
    if count < 1:
        raise ConfigError(f"top_k is {count}; expected at least 1, or None for all")
    return count


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
        raise TypeError(f"heads is {_shown(heads)}; expected a heads.json, (layer, head) pairs, or 'all'")
    chosen = []
    for number, pair in enumerate(heads):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"heads[{number}] is {_shown(pair)}; expected a (layer, head) pair")
        chosen.append(Head(*(_whole(part, f"heads[{number}]") for part in pair)))
    return tuple(chosen)


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {_shown(value)}; expected an integer")
    return operator.index(value)  # pyright: ignore[reportArgumentType]


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text[:60]}{'...' if len(text) > 60 else ''} ({type(value).__name__})"
