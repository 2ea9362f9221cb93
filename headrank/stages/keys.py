"""The keys of the stages' artifacts: what each of them depends on."""

import importlib.metadata
from functools import cache
from pathlib import Path
from typing import Any

from headrank.artifacts import artifact_key
from headrank.experiment import Experiment, SystemSettings
from headrank.model import EMBEDDED_MODEL, BackboneSettings
from headrank.model.scorer import BATCHING
from headrank.stages.lists import BenchmarkData, LabelledData

FORMAT = 1  # raised when the meaning of an artifact changes


@cache
def project_version() -> str:
    """The installed version of this package."""
    return importlib.metadata.version("headrank")


def model_identity(settings: BackboneSettings) -> dict[str, Any]:
    """What identifies the weights that scores depend on: the name and revision, for a local folder its files too."""
    identity: dict[str, Any] = {"settings": settings}
    folder = Path(settings.model).expanduser()
    if settings.model != EMBEDDED_MODEL and folder.is_dir():
        files = sorted(p for p in folder.iterdir() if p.is_file())
        identity["files"] = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return identity


def data_identity(data: BenchmarkData) -> dict[str, Any]:
    """What identifies the lists: settings, the collection's content, and the first stage's ids and scores."""
    lists = [(item.query.id, item.passage_ids, item.first_stage_scores) for item in data.candidates.lists]
    return {"settings": data.settings, "collection": data.collection.fingerprint, "lists": artifact_key(lists)}


def labelled_identity(data: LabelledData) -> list[dict[str, Any]]:
    """What identifies labelled lists: every part's identity, in order."""
    return [data_identity(part) for part in data.parts]


def table_key(experiment: Experiment, system: SystemSettings, train: LabelledData, *, filtered: bool) -> str:
    """The key of a head table: it depends on how lists are read, not on the criterion that will use it."""
    return artifact_key(
        "head table",
        FORMAT,
        model_identity(experiment.model),
        labelled_identity(train),
        system.prompt,
        system.scorer.query_rows,
        experiment.selection.seeds,
        experiment.selection.max_layer,
        filtered,
    )


def heads_key(experiment: Experiment, system: SystemSettings, train: LabelledData | None) -> str:
    """The key of `heads.json`."""
    criterion = {"name": system.criterion.name, **vars(system.criterion)}
    return artifact_key(
        "heads",
        FORMAT,
        model_identity(experiment.model),
        labelled_identity(train) if train else None,
        criterion,
        system.heads,
        system.entropy_weight,
        system.scorer,
        system.prompt,
        experiment.selection.seeds,
        experiment.selection.max_layer,
    )


def used_parts(heads: dict[str, Any], *names: str) -> dict[str, Any]:
    """The parts of a heads file (as a dict) that an artifact depends on; of the scorer not how it batches lists."""
    parts = {name: heads[name] for name in names}
    if parts["scorer"] is not None:
        parts["scorer"] = {name: value for name, value in parts["scorer"].items() if name not in BATCHING}
    return parts


def run_key(model: dict[str, Any], heads: dict[str, Any], benchmark: BenchmarkData) -> str:
    """The key of a benchmark's run: the model (its identity), the heads with their scorer and prompt, the lists."""
    used = used_parts(heads, "heads", "prompt", "scorer")
    return artifact_key("run", FORMAT, model, used, data_identity(benchmark))


def metrics_key(experiment: Experiment, benchmark: BenchmarkData, run_keys: dict[str, str]) -> str:
    """The key of a benchmark's metrics: its runs, its qrels (in the collection's fingerprint), what is measured."""
    return artifact_key("metrics", FORMAT, run_keys, data_identity(benchmark), experiment.metrics)
