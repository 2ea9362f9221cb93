"""Run folders found and read back: state, overrides, configuration and results of each, finished or not.

runs = [read_run_folder(path) for path in find_run_folders([Path("outputs/qwen3_4b/alignment_ablation")])]
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from headrank.artifacts import RunFolder
from headrank.errors import ArtifactError
from headrank.evaluation.results import BenchmarkResult

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
