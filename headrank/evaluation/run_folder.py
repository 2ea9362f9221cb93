"""Read run folders: `RunResults` holds one run for its report, `CollectedRun` one of many runs for a comparison.

    run = read_results(Path("outputs/nano"))
    run.benchmarks[0].systems[run.main].means[run.metric]

    runs = [read_run_folder(path) for path in find_run_folders([Path("outputs/qwen3_4b/alignment_ablation")])]

All values are plain data from the files of the folder; neither models nor judgements are needed.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from headrank.errors import ArtifactError
from headrank.evaluation.examples import FOLDER as EXAMPLES
from headrank.evaluation.examples import Example, read_examples
from headrank.evaluation.measures.results import (
    MAIN_SYSTEM,
    UNALIGNED_SYSTEM,
    BenchmarkResult,
    check_results,
    system_names,
)
from headrank.io.artifacts import RunFolder
from headrank.io.epoch_log import read_epoch_log

FINISHED = "finished"
NO_STATUS = "no status"  # a folder with results but without status.json, for example a copy
NOT_STARTED = "not started"  # a job's folder that holds only its overrides
_RUN_SUBFOLDERS = frozenset(
    (
        "metrics",
        "runs",
        "examples",
        "heads",
        "checkpoint",
        "training",
        "figures",
        "tables",
        "wandb",
        ".hydra",
        ".keys",
        ".submitit",
    )
)  # never searched for other runs


@dataclass(frozen=True, slots=True)
class RunResults:
    """The results of one run, from which its report and figures are made.

    benchmarks: at least one, all with the same metrics and reference (the first stage).
    metric: the metric that the report shows first. main: the name of the main system.
    name: the run's name, for figures that compare runs.
    before: the name of the main system before alignment, one of `systems`; None if nothing was aligned.
    heads, heads_before: contents of the main system's `heads.json`, and of the one before alignment; None if unknown.
    head_curves: content of `head_curves.json`: quality against depth and number of heads; None if unknown.
    epochs: rows of the epoch log (`read_epoch_log`). config: the composed configuration.
    examples: benchmark -> explained queries (`read_examples`).
    passes: (system, benchmark) -> facts of the reranking of the benchmark, such as `seconds` and `lists`.

    Raises:
        ValueError: the results do not fit together, or `metric`, `main` or `before` is not among them.
    """

    benchmarks: tuple[BenchmarkResult, ...]
    metric: str
    main: str
    name: str = ""
    before: str | None = None
    heads: Mapping[str, Any] | None = None
    heads_before: Mapping[str, Any] | None = None
    head_curves: Mapping[str, Any] | None = None
    epochs: tuple[Mapping[str, float | int], ...] = ()
    examples: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    passes: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_results(self.benchmarks)
        if self.metric not in self.benchmarks[0].metrics:
            measured = ", ".join(self.benchmarks[0].metrics)
            raise ValueError(f"metric {self.metric!r} was not measured: expected one of {measured}")
        for system in (self.main, *([self.before] if self.before else [])):
            if system not in self.systems:
                raise ValueError(f"system {system!r} is not in the results: expected one of {', '.join(self.systems)}")

    @property
    def reference(self) -> str:
        """The name of the system with which all others are compared: the first stage."""
        return self.benchmarks[0].reference

    @property
    def systems(self) -> list[str]:
        """The names of all systems, in order of first appearance."""
        return system_names(self.benchmarks)

    @property
    def model(self) -> str:
        """The model's name without folder or owner; the run's name if the model is unknown."""
        found = str(((self.heads or {}).get("model") or {}).get("id", ""))
        return found.rstrip("/").split("/")[-1] or self.name


def run_labels(runs: Sequence[RunResults]) -> list[str]:
    """Return a label for each run: its model or, if two runs have the same model, its name."""
    models = [run.model for run in runs]
    return models if len(set(models)) == len(models) else [run.name or run.model for run in runs]


def read_results(
    folder: Path, benchmarks: Sequence[BenchmarkResult] | None = None, *, metric: str | None = None
) -> RunResults:
    """Read the results of a run folder.

    Args:
        folder: the run folder.
        benchmarks: the results, if they are in memory; None: read `metrics/<benchmark>.json` of each benchmark that the
            folder's `config.yaml` names.
        metric: the metric that the report shows first; None: the objective of `config.yaml`, or the first metric.

    Raises:
        ValueError: the folder holds no results, or they do not fit together.
        ArtifactError: a metrics file was edited or is damaged.
    """
    folder = Path(folder)
    config = _read_config(folder)
    if benchmarks is None:
        benchmarks = _read_benchmarks(folder, config)
    if not benchmarks:
        raise ValueError(f"{folder} holds no results: expected metrics/<benchmark>.json, which a finished run writes")
    names = system_names(benchmarks)
    aligned = UNALIGNED_SYSTEM in names
    heads = _json(folder / "heads.json")
    metric = metric or config.get("objective")
    try:
        return RunResults(
            benchmarks=tuple(benchmarks),
            metric=metric or benchmarks[0].metrics[0],
            main=MAIN_SYSTEM if MAIN_SYSTEM in names else names[-1],
            name=folder.resolve().name,
            before=UNALIGNED_SYSTEM if aligned else None,
            heads=_json(folder / "checkpoint" / "heads.json") if aligned else heads,
            heads_before=heads if aligned else None,
            head_curves=_json(folder / "head_curves.json"),
            epochs=tuple(read_epoch_log(folder / "training" / "epochs.csv")) if aligned else (),
            examples={one.name: read_examples(folder / EXAMPLES / f"{one.name}.json") for one in benchmarks},
            passes=_passes(_json(folder / "facts.json") or {}),
            config=config,
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def _passes(facts: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Facts by (system, benchmark), from keys `system/benchmark`; a benchmark's name has no slash."""
    return {(key.rpartition("/")[0], key.rpartition("/")[2]): values for key, values in facts.items()}


@dataclass(frozen=True, slots=True)
class CollectedRun:
    """The content of a run folder, finished or not.

    state: `finished`, `failed`, `interrupted`, `running` (or killed), `same` (a sweep's job that equals another, named
        by `reason`), `no status` (results without `status.json`), `not started` (neither), `unreadable`.
    stage, time: the last stage, and when the status was written. reason: why the run is not finished, if known.
    overrides: key -> value, from the command line and the sweep.
    config: the composed configuration with dotted keys, key -> value; empty without `config.yaml`.
    results: the benchmarks of a run with state `finished` or `no status`; otherwise empty.
    """

    folder: Path
    state: str
    stage: str = ""
    time: str = ""
    reason: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    results: tuple[BenchmarkResult, ...] = ()

    @property
    def seed(self) -> Any:
        """The value of `seed` in the configuration; None if unknown."""
        return self.config.get("seed")


def find_run_folders(roots: Iterable[Path]) -> list[Path]:
    """Find all run folders at and below `roots`, each once, in natural order of their paths.

    Raises:
        ValueError: a root holds no run folder.
    """
    found: dict[Path, Path] = {}
    for root in roots:
        below = list(_below(root))
        if not below:
            raise ValueError(f"{root} holds no run folder: expected folders with status.json or metrics/")
        found |= {path.resolve(): path for path in below}
    return sorted(found.values(), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """A sort key that orders heads_4 before heads_16."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _below(root: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(root):
        path = Path(here)
        if "status.json" in files or "metrics" in folders or (path / ".hydra" / "overrides.yaml").is_file():
            folders[:] = [name for name in folders if name not in _RUN_SUBFOLDERS]
            yield path


def read_run_folder(folder: Path) -> CollectedRun:
    """Read a run folder. A folder that cannot be read has state `unreadable` and the reason; nothing is raised."""
    try:
        return _collect(folder)
    except (ValueError, ArtifactError, OSError, yaml.YAMLError) as error:
        return CollectedRun(folder, "unreadable", reason=f"{type(error).__name__}: {error}")


def _collect(folder: Path) -> CollectedRun:
    status = _json(folder / "status.json") or {}
    state = status.get("state") or (NO_STATUS if any((folder / "metrics").glob("*.json")) else NOT_STARTED)
    config = _read_config(folder)
    same = status.get("same_as")
    return CollectedRun(
        folder,
        state,
        stage=status.get("stage", ""),
        time=status.get("time", ""),
        reason=f"the same as {same}" if same else status.get("error", ""),
        overrides=dict(_override(text) for text in _yaml(folder / ".hydra" / "overrides.yaml") or []),
        config=dict(_flat(config)),
        results=tuple(_read_benchmarks(folder, config)) if state in (FINISHED, NO_STATUS) else (),
    )


def _override(text: str) -> tuple[str, str]:
    key, _, value = text.lstrip("+").partition("=")
    return key, value


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read_benchmarks(folder: Path, config: Mapping[str, Any]) -> list[BenchmarkResult]:
    """The results of the benchmarks that the configuration names, in its order; all of them if it names none.

    Other files in `metrics/` come from an earlier start with other benchmarks.
    """
    edited = RunFolder(folder).edited_file("metrics/")
    if edited is not None:
        raise ArtifactError(f"{folder / edited} was edited or is damaged: run it again, which rebuilds the file")
    sources = (config.get("debug") or {}).get("benchmarks") or config.get("benchmarks") or {}
    named = [folder / "metrics" / f"{source['name']}.json" for source in sources.values()]
    paths = [path for path in named if path.is_file()] if named else sorted((folder / "metrics").glob("*.json"))
    return [BenchmarkResult.from_dict(_json(path)) for path in paths]


def _read_config(folder: Path) -> dict[str, Any]:
    """The composed configuration; interpolations stay unresolved. Empty without `config.yaml`."""
    content = _yaml(folder / "config.yaml")
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
