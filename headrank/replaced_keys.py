"""Raise errors for configuration keys of earlier versions; the message names the new key."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from headrank.errors import ConfigError

_THRESHOLD = "that of each data set, such as data.local.relevance_threshold"

REPLACED: Mapping[str, str] = {
    "relevance_threshold": _THRESHOLD,
    "selection.criterion.relevance_threshold": _THRESHOLD,
    "baselines.*.criterion.relevance_threshold": _THRESHOLD,
    **dict.fromkeys(
        ("share_runs", "shared_runs"),
        "the cache (paths.cache), which keeps runs of untrained systems without an option: remove the key",
    ),
    **{f"alignment.{name}": f"alignment.trained.{name}" for name in ("part", "matrices", "rank", "lora_alpha")},
    **{
        f"alignment.{name}": f"alignment.optimizer.{name}" for name in ("lr", "weight_decay", "warmup_fraction", "clip")
    },
    "alignment.draw_from": "alignment.draw_depth",
    "alignment.gradient_checkpointing": "trainer.gradient_checkpointing",
    "prompt.layout": "prompt.chat_template",
    "baselines.*.prompt.layout": "prompt.chat_template of the same baseline",
    "scorer.fusion_alpha": "scorer.fusion",
    "baselines.*.scorer.fusion_alpha": "scorer.fusion of the same baseline",
    "report.beside": "report.compared_runs",
    "report.columns": "the fixed columns of each table: remove the key",
    "hydra.launcher.ray": "hydra.launcher",
}
"""Key -> its replacement: a key, which also holds for the keys below it, or a sentence."""


def replacement(key: str) -> str | None:
    """Return the new name of a configuration key, or a sentence about its replacement.

    None if the key is valid: neither it nor a key above it was replaced.
    """
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        for old, new in REPLACED.items():
            if old.count(".") == end - 1 and fnmatchcase(".".join(parts[:end]), old):
                return new if " " in new else ".".join((new, *parts[end:]))
    return None


def check_replaced(content: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for the first replaced key in a configuration, which is given as plain values."""
    for key in _keys(content):
        new = replacement(key)
        if new is not None:
            raise ConfigError(f"{key}: replaced by {new}")


def _keys(content: Mapping[str, Any], parent: str = "") -> Iterator[str]:
    for name, value in content.items():
        key = f"{parent}{name}"
        yield key
        if isinstance(value, Mapping):
            yield from _keys(value, f"{key}.")
