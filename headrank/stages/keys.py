"""Compute the keys of the stages' artifacts. A key is a hash of everything that an artifact depends on.

A stage reuses an existing artifact if its key is unchanged (`headrank.io.artifacts`).
"""

import importlib.metadata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from headrank.data.open_collection import local_path
from headrank.errors import ConfigError
from headrank.experiment import Experiment, SystemSettings
from headrank.heads import ProbabilityCalibration
from headrank.io.artifacts import artifact_key
from headrank.model import model_identity
from headrank.stages.key_fields import key_content, scorer_key_content
from headrank.stages.lists import BenchmarkData, LabelledData

FORMAT = 3  # raise it when the same input gives other numbers; 3: chat templates of more families
ALIGNED = "aligned"  # the entry of a model's identity that marks it as trained by this experiment
HEADS_FORMAT = 3  # the same for `heads.json`, on which runs and checkpoints do not depend; 3: with a fusion fit
METRICS_FORMAT = 4  # the same for `metrics/*.json`, which need no model; 4: quality of probabilities


@cache
def project_version() -> str:
    """Return the installed version of this package."""
    return importlib.metadata.version("headrank")


def experiment_key(experiment: Experiment) -> str | None:
    """Return the key of a finished run, computed without reading data.

    It covers the configuration, this package's version, and the size and modification time of the local files that the
    configuration names.

    Returns:
        The key; None if the experiment was not made from a configuration.
    """
    content = dict(experiment.config)
    if not content:
        return None
    for where in ("paths", "tracking"):  # they say where results are written, not what they are
        content.pop(where, None)
    sets = (*experiment.train, *experiment.benchmarks)  # the configuration may hold only patterns of their files
    paths = {str(p) for one in sets for p in (one.collection, one.run_path, one.qrels, one.label_source.run) if p}
    local = {text: _files(Path(text)) for text in _texts(content) | paths}
    named = {text: files for text, files in local.items() if files}
    return artifact_key("experiment", FORMAT, project_version(), content, named)


def _files(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and modification time of a file or of the files in a folder; empty if it does not exist."""
    try:
        path, _ = local_path(path)
        folders = [path, path / "qrels"]
        files = [p for folder in folders if folder.is_dir() for p in folder.iterdir() if p.is_file()]
        files = sorted(files) or ([path] if path.is_file() else [])
    except (OSError, ConfigError):  # not a valid file name, or an unknown user's home
        return []
    return [(str(p.relative_to(path.parent)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]


def _texts(content: Any) -> set[str]:
    """All strings among nested values."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        return set().union(*map(_texts, content))
    return {content} if isinstance(content, str) and content else set()


def lists_identity(data: BenchmarkData) -> dict[str, Any]:
    """Identify the candidate lists that a reranker reads, for keys: passages, queries, first-stage ids and scores.

    The settings that produced the lists and the relevance judgements are not included.

    data: the data set that holds the candidate lists.
    """
    lists = [
        (item.query.id, item.query.text, item.passage_ids, item.first_stage_scores) for item in data.candidates.lists
    ]
    return {"passages": data.collection.passages_fingerprint, "lists": artifact_key(lists)}


def labelled_identity(data: LabelledData) -> dict[str, Any]:
    """Identify labelled lists, for keys.

    The result includes the candidate lists, judgements, teacher's scores and relevance threshold of each data set, and
    the query ids.

    data: the labelled lists.
    """
    parts = [
        {
            **lists_identity(part),
            "collection": part.collection.fingerprint,
            "threshold": part.settings.relevance_threshold,
            **_teacher_identity(part),
        }
        for part in data.parts
    ]
    return {"parts": parts, "ids": [one.item.query.id for one in data.lists]}


def _teacher_identity(data: BenchmarkData) -> dict[str, Any]:
    if data.teacher is None:
        return {}
    levels = None if data.settings.label_source.judged else data.settings.teacher_levels
    return {"teacher": artifact_key([one.teacher for one in data.labelled()], levels)}


def table_key(experiment: Experiment, system: SystemSettings, train: LabelledData, *, filtered: bool) -> str:
    """Return the key of a head table. It depends on how lists are read, not on the criterion that uses the table.

    Args:
        experiment: the experiment.
        system: the system whose prompt and query rows are read.
        train: the labelled lists.
        filtered: whether the table holds token-filtered scores.
    """
    return artifact_key(
        "head table",
        FORMAT,
        key_content(model_identity(experiment.model)),
        labelled_identity(train),
        key_content(system.prompt),
        system.scorer.query_rows,
        experiment.reading.seeds,
        experiment.reading.max_layer,
        filtered,
    )


def heads_key(experiment: Experiment, system: SystemSettings, train: LabelledData | None) -> str:
    """Return the key of a system's heads file. All scorer settings count, because the file stores them.

    Args:
        experiment: the experiment.
        system: the system whose heads are selected.
        train: the labelled lists. None: heads are selected without labelled lists.
    """
    criterion = {"name": system.criterion.name, **vars(system.criterion)}
    return artifact_key(
        "heads",
        (FORMAT, HEADS_FORMAT),
        key_content(model_identity(experiment.model)),
        labelled_identity(train) if train else None,
        criterion,
        system.heads,
        system.entropy_weight,
        key_content(system.scorer, stored=True),
        key_content(system.prompt),
        experiment.reading.seeds,
        experiment.reading.max_layer,
    )


def used_parts(heads: dict[str, Any], *names: str) -> dict[str, Any]:
    """Reduce a heads file to the content that an artifact depends on.

    Args:
        heads: the heads file as plain values, see `HeadsFile.to_dict`.
        names: the entries that the artifact depends on; `heads` is always included.

    Returns:
        Name -> content, for example `heads` -> [(21, 8, 1.0)]. Heads are (layer, head, weight), without the criterion's
        measures; the scorer holds only settings that change scores.
    """
    parts = {name: heads[name] for name in names}
    parts["heads"] = sorted(
        (head["layer"], head["head"], head["weight"]) for head in heads["heads"]
    )  # order does not matter: scores are sums over heads
    if parts["scorer"] is not None:
        parts["scorer"] = scorer_key_content(parts["scorer"])
    return parts


def run_key(model: dict[str, Any], heads: dict[str, Any], benchmark: BenchmarkData) -> str:
    """Return the key of a system's run on a benchmark.

    Args:
        model: what identifies the model, as plain values.
        heads: the heads file as plain values, with scorer and prompt.
        benchmark: the data set with the candidate lists.
    """
    used = used_parts(heads, "heads", "prompt", "scorer")
    return artifact_key("run", FORMAT, key_content(model), used, lists_identity(benchmark))


def reranker_key(identity: Mapping[str, Any], benchmark: BenchmarkData) -> str:
    """Return the key of a run on a benchmark, for a reranker that does not read heads.

    Args:
        identity: everything that its rankings depend on, see `RerankerSettings.identity`.
        benchmark: the data set with the candidate lists.
    """
    return artifact_key("run", FORMAT, key_content(identity), lists_identity(benchmark))


def metrics_key(
    experiment: Experiment,
    benchmark: BenchmarkData,
    run_keys: Mapping[str, str],
    probabilities: Mapping[str, ProbabilityCalibration | None],
) -> str:
    """Return the key of a benchmark's metrics.

    Args:
        experiment: the experiment, which names the metrics.
        benchmark: the data set, with candidate lists, judgements, scored queries and relevance threshold.
        run_keys: system -> key of its run.
        probabilities: system -> its probability calibration, or None if it has no probabilities.
    """
    return artifact_key(
        "metrics",
        METRICS_FORMAT,
        run_keys,
        {system: one.to_dict() for system, one in probabilities.items() if one is not None},
        lists_identity(benchmark),
        benchmark.collection.fingerprint,
        benchmark.query_ids,
        benchmark.settings.relevance_threshold,
        experiment.metrics,
    )
