"""Find the model and heads of a run folder: its aligned checkpoint, or the model in which it selected heads."""

import logging
from pathlib import Path
from typing import NamedTuple

import yaml

from headrank.errors import ConfigError, FormatError, ModelError
from headrank.heads import HeadsFile
from headrank.reranker.heads import HEADS_FILE

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint"


class RunModel(NamedTuple):
    """The model that a run folder names, its hub revision, and the heads (None: those in the model's folder)."""

    model: str
    revision: str | None
    heads: HeadsFile | None


def find_run_model(model: str, revision: str | None) -> RunModel:
    """Find the model of a run folder. Any other model name is returned unchanged, without heads.

    Args:
        model: a run folder, or a name of a model.
        revision: the hub revision that the user gave.

    Returns:
        `<run>/checkpoint` if the run aligned its model. Otherwise the model that `<run>/heads.json` names, with these
        heads; a warning is logged if the run is configured to align.

    Raises:
        ConfigError: a revision is given for a run folder.
        ModelError: the run's model had random weights.
        FormatError: `heads.json` is damaged or names no model.
    """
    run = Path(model).expanduser()
    names = (HEADS_FILE, f"{CHECKPOINT}/{HEADS_FILE}")
    if (run / "config.json").is_file() or not any((run / name).is_file() for name in names):
        return RunModel(model, revision, None)
    if revision is not None:
        raise ConfigError(f"revision is {revision!r}, but {model} is a run folder; expected None: the run names it")
    aligns = _aligns(run)
    if aligns is not False and (run / CHECKPOINT / "config.json").is_file():
        return RunModel(str(run / CHECKPOINT), None, None)
    file = HeadsFile.load(run / HEADS_FILE)
    if file.model.get("weights", "") is None:
        raise ModelError(f"{run}: its model {file.model.get('id')!r} had random weights, which are not stored")
    if not isinstance(file.model.get("id"), str):
        raise FormatError(
            f"{run / HEADS_FILE}: the model's id is {file.model.get('id')!r}; expected the name of a model"
        )
    if aligns:
        logger.warning("%s has no aligned checkpoint (yet): opening its heads in the model before alignment", run)
    return RunModel(file.model["id"], file.model.get("revision"), file)


def _aligns(run: Path) -> bool | None:
    """Whether the run's configuration has an alignment; None if unknown."""
    path = run / "config.yaml"
    if not path.is_file():
        return None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError:
        return None
    if not isinstance(content, dict) or "alignment" not in content:
        return None
    alignment = content["alignment"]
    return isinstance(alignment, dict) and not alignment.get("_none_")
