"""Run folders found and read back: state, overrides, configuration and results of each, finished or not.

runs = [read_run_folder(path) for path in find_run_folders([Path("outputs/qwen3_4b/alignment_ablation")])]

A run as its report and its figures see it: results, heads, training, the passes' facts; and its folder read back.

    run = read_results(Path("outputs/nano"))
    run.benchmarks[0].systems[run.main].means[run.metric]

Everything is plain data out of the run folder's files, so a figure needs neither models nor judgements.
"""

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from headrank.errors import ArtifactError
from headrank.evaluation.measures.results import BenchmarkResult
from headrank.evaluation.measures.systems import MAIN_SYSTEM, UNALIGNED_SYSTEM
from headrank.evaluation.report.tables import check_results, system_names
from headrank.io.artifacts import RunFolder


@dataclass(frozen=True, slots=True)
class RunResults:
    """What a run came to.

    benchmarks: at least one, with the same metrics and reference (the first stage).
    main: the system the run is about. metric: the metric that leads. name: of the run, where several stand together.
    before: the main system before alignment, among the systems; None where nothing was aligned.
    heads, heads_before: contents of the main system's heads file and of the one before alignment; None: not known.
    head_curves: `head_curves.json`, quality against depth and number of heads on the labelled lists.
    epochs: rows of the epoch record, the empty fields left out. passes: (system, benchmark) -> facts of its reranking.
    config: the composed configuration.

    Raises `ValueError` if the results do not fit together, or `metric`, `main` or `before` is not among them.
    """

    benchmarks: tuple[BenchmarkResult, ...]
    metric: str
    main: str
    name: str = ""
    before: str | None = None
    heads: Mapping[str, Any] | None = None
    heads_before: Mapping[str, Any] | None = None
    head_curves: Mapping[str, Any] | None = None
    epochs: tuple[Mapping[str, float], ...] = ()
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
        """The system that others are compared with: the first stage."""
        return self.benchmarks[0].reference

    @property
    def systems(self) -> list[str]:
        """All systems, in order of appearance."""
        return system_names(self.benchmarks)

    @property
    def model(self) -> str:
        """The model's name without its folder or owner; the run's name where it is not known."""
        found = str(((self.heads or {}).get("model") or {}).get("id", ""))
        return found.rstrip("/").split("/")[-1] or self.name


def run_labels(runs: Sequence[RunResults]) -> list[str]:
    """What tells runs apart: their models; where two have the same, their names."""
    models = [run.model for run in runs]
    return models if len(set(models)) == len(models) else [run.name or run.model for run in runs]


def read_results(
    folder: Path, benchmarks: Sequence[BenchmarkResult] | None = None, *, metric: str | None = None
) -> RunResults:
    """The results of a run folder.

    benchmarks: results at hand; None: those of `metrics/*.json`, as far as the folder's `config.yaml` names them, in
        its order.
    metric: the one that leads; None: the configuration's objective.

    Raises `ValueError` that names the folder if it holds no results or they do not fit together, and `ArtifactError`
    for metrics that were edited or are damaged.
    """
    folder = Path(folder)
    config = _config(folder / "config.yaml")
    if benchmarks is None:
        edited = RunFolder(folder).edited_file("metrics/")
        if edited is not None:
            raise ArtifactError(f"{folder / edited} was edited or is damaged: start that run again, which rebuilds it")
        benchmarks = [BenchmarkResult.from_dict(_json(path)) for path in _metrics_files(folder, config)]
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
            epochs=_epochs(folder / "training" / "epochs.csv") if aligned else (),
            passes=_passes(_json(folder / "facts.json") or {}),
            config=config,
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def _metrics_files(folder: Path, config: Mapping[str, Any]) -> list[Path]:
    """The files of the benchmarks that the configuration names; of a folder without one, all."""
    sources = (config.get("debug") or {}).get("benchmarks") or config.get("benchmarks") or {}
    named = [folder / "metrics" / f"{source['name']}.json" for source in sources.values()]
    return [path for path in named if path.is_file()] or sorted((folder / "metrics").glob("*.json"))


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _epochs(path: Path) -> tuple[dict[str, float], ...]:
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        return tuple({k: float(v) for k, v in row.items() if k and v} for row in csv.DictReader(file))


def _passes(facts: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Facts by system and benchmark, out of keys `system/benchmark`; a benchmark's name has no slash."""
    return {(key.rpartition("/")[0], key.rpartition("/")[2]): values for key, values in facts.items()}


FINISHED = "finished"
NO_STATUS = "no status"  # of a folder with results alone, copied or made by other means
NOT_STARTED = "not started"  # of a job of which there is nothing but its overrides
_OWN = frozenset(
    ("metrics", "runs", "heads", "checkpoint", "training", "figures", "tables", "wandb", ".hydra", ".keys", ".submitit")
)  # folders of a run in which no other run lies


@dataclass(frozen=True, slots=True)
class CollectedRun:
    """A run folder's content.

    state: `finished`, `failed`, `interrupted`, `running` (or killed), `same` (a sweep's job equal to another's, which
        `reason` names), `no status`, `not started`, `unreadable`. reason: why it is not finished, as far as known.
    overrides: what the command line and the sweep said, key -> value. config: the composed configuration, flat, key ->
        value; empty if there is none. results: only of runs that are finished or have no status.
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
        """The configuration's seed; None if it is not known."""
        return self.config.get("seed")


def find_run_folders(roots: Iterable[Path]) -> list[Path]:
    """All run folders at and below these, in the order of their paths, each once.

    Raises `ValueError` for a root that holds none.
    """
    found: dict[Path, Path] = {}
    for root in roots:
        below = list(_below(root))
        if not below:
            raise ValueError(f"{root} is no run folder and holds none: expected folders with status.json or metrics/")
        found |= {path.resolve(): path for path in below}
    return sorted(found.values(), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """A key that orders heads_4 before heads_16."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _below(root: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(root):
        path = Path(here)
        if "status.json" in files or "metrics" in folders or (path / ".hydra" / "overrides.yaml").is_file():
            folders[:] = [name for name in folders if name not in _OWN]
            yield path


def read_run_folder(folder: Path) -> CollectedRun:
    """A run folder's content. What cannot be read makes the run `unreadable`, with the reason; nothing is raised."""
    try:
        return _read(folder)
    except (ValueError, ArtifactError, OSError, yaml.YAMLError) as error:
        return CollectedRun(folder, "unreadable", reason=f"{type(error).__name__}: {error}")


def _read(folder: Path) -> CollectedRun:
    path = folder / "status.json"
    status = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    files = sorted((folder / "metrics").glob("*.json"))
    state = status.get("state") or (NO_STATUS if files else NOT_STARTED)
    config = _yaml(folder / "config.yaml") or {}
    results: list[BenchmarkResult] = []
    if state in (FINISHED, NO_STATUS):
        edited = RunFolder(folder).edited_file("metrics/")
        if edited is not None:
            raise ArtifactError(f"{edited} was edited or is damaged: run it again, which rebuilds it")
        named = _benchmarks(config)
        wanted = [file for file in files if not named or file.stem in named]  # others are left of an earlier start
        results = [BenchmarkResult.from_dict(json.loads(file.read_text(encoding="utf-8"))) for file in wanted]
    same = status.get("same_as")
    return CollectedRun(
        folder,
        state,
        stage=status.get("stage", ""),
        time=status.get("time", ""),
        reason=f"the same as {same}" if same else status.get("error", ""),
        overrides=dict(_override(text) for text in _yaml(folder / ".hydra" / "overrides.yaml") or []),
        config=dict(_flat(config)),
        results=tuple(results),
    )


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None


def _benchmarks(config: Mapping[str, Any]) -> set[str]:
    sources = (config.get("debug") or {}).get("benchmarks") or config.get("benchmarks") or {}
    return {source["name"] for source in sources.values()}


def _override(text: str) -> tuple[str, str]:
    key, _, value = text.lstrip("+").partition("=")
    return key, value


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
