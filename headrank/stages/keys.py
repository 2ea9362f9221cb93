"""The keys of the stages' artifacts: what each of them depends on."""

import importlib.metadata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from headrank.experiment import Experiment, SystemSettings
from headrank.io.artifacts import artifact_key
from headrank.model import model_identity
from headrank.stages.key_fields import in_key, scorer_in_key
from headrank.stages.lists import BenchmarkData, LabelledData

FORMAT = 2  # raised when the same input gives other numbers; 2: tokens as in running text, other shuffled orders
ALIGNED = "aligned"  # the key under which the identity of a model trained here is kept
METRICS_FORMAT = 3  # the same of `metrics/*.json`, which cost no model; 3: homogenization of each list


@cache
def project_version() -> str:
    """The installed version of this package."""
    return importlib.metadata.version("headrank")


def experiment_key(experiment: Experiment) -> str | None:
    """The key of all that a run came to, found without reading data: its configuration, this version, and size and time
    of the local files and folders that the configuration names. None for an experiment that carries no configuration.
    """
    content = dict(experiment.config)
    if not content:
        return None
    for where in ("paths", "tracking"):  # where results go and come from, not what they are
        content.pop(where, None)
    runs = {one.run_path for one in experiment.benchmarks if one.run_path}  # named by a pattern, it may be
    local = {text: _files(Path(text)) for text in _texts(content) | runs}
    named = {text: files for text, files in local.items() if files}
    return artifact_key("experiment", FORMAT, project_version(), content, named)


def _files(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of a file, or of the files of a folder; nothing if there is none."""
    try:
        path = path.expanduser()
        files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path] if path.is_file() else []
    except (OSError, RuntimeError):  # no name that a file could have, or no such user's home
        return []
    return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]


def _texts(content: Any) -> set[str]:
    """All strings among nested values."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        return set().union(*map(_texts, content))
    return {content} if isinstance(content, str) and content else set()


def lists_identity(data: BenchmarkData) -> dict[str, Any]:
    """What identifies the lists that a reranker reads: the passages, the queries, and the first stage's ids and scores.

    Not the settings by which they were found, and not the judgements.
    """
    lists = [
        (item.query.id, item.query.text, item.passage_ids, item.first_stage_scores) for item in data.candidates.lists
    ]
    return {"passages": data.collection.passages_fingerprint, "lists": artifact_key(lists)}


def labelled_identity(data: LabelledData) -> dict[str, Any]:
    """What identifies labelled lists: every part's lists, judgements and relevance threshold, and the queries' ids."""
    parts = [
        {
            **lists_identity(part),
            "collection": part.collection.fingerprint,
            "threshold": part.settings.relevance_threshold,
        }
        for part in data.parts
    ]
    return {"parts": parts, "ids": [one.item.query.id for one in data.lists]}


def table_key(experiment: Experiment, system: SystemSettings, train: LabelledData, *, filtered: bool) -> str:
    """The key of a head table: it depends on how lists are read, not on the criterion that will use it."""
    return artifact_key(
        "head table",
        FORMAT,
        in_key(model_identity(experiment.model)),
        labelled_identity(train),
        in_key(system.prompt),
        system.scorer.query_rows,
        experiment.selection.seeds,
        experiment.selection.max_layer,
        filtered,
    )


def heads_key(experiment: Experiment, system: SystemSettings, train: LabelledData | None) -> str:
    """The key of `heads.json`. The file holds the whole scorer, so that all of its settings count."""
    criterion = {"name": system.criterion.name, **vars(system.criterion)}
    return artifact_key(
        "heads",
        FORMAT,
        in_key(model_identity(experiment.model)),
        labelled_identity(train) if train else None,
        criterion,
        system.heads,
        system.entropy_weight,
        system.scorer,
        in_key(system.prompt),
        experiment.selection.seeds,
        experiment.selection.max_layer,
    )


def used_parts(heads: dict[str, Any], *names: str) -> dict[str, Any]:
    """The parts of a heads file (as a dict) that an artifact depends on.

    Of the heads layer, number and weight, not what the criterion measured; of the scorer what scores depend on.
    """
    parts = {name: heads[name] for name in names}
    parts["heads"] = sorted((head["layer"], head["head"], head["weight"]) for head in heads["heads"])  # sums of them
    if parts["scorer"] is not None:
        parts["scorer"] = scorer_in_key(parts["scorer"])
    return parts


def run_key(model: dict[str, Any], heads: dict[str, Any], benchmark: BenchmarkData) -> str:
    """The key of a benchmark's run: the model (its identity), the heads with their scorer and prompt, the lists."""
    used = used_parts(heads, "heads", "prompt", "scorer")
    return artifact_key("run", FORMAT, in_key(model), used, lists_identity(benchmark))


def reranker_key(identity: Mapping[str, Any], benchmark: BenchmarkData) -> str:
    """The key of a benchmark's run by a system without heads: all its rankings depend on (its identity), the lists."""
    return artifact_key("run", FORMAT, in_key(identity), lists_identity(benchmark))


def metrics_key(experiment: Experiment, benchmark: BenchmarkData, run_keys: dict[str, str]) -> str:
    """The key of a benchmark's metrics: its runs, lists and judgements, the queries that count, what is measured."""
    return artifact_key(
        "metrics",
        METRICS_FORMAT,
        run_keys,
        lists_identity(benchmark),
        benchmark.collection.fingerprint,
        benchmark.query_ids,
        benchmark.settings.relevance_threshold,
        experiment.metrics,
    )
