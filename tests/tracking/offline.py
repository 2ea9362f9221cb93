"""Reads back what wandb wrote for an offline run: its `.wandb` file, a LevelDB log of protobuf records."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb
from wandb.cli import beta_sync
from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER, WHOLE, LAST = 32768, struct.Struct("<IHB"), 1, 4


def records(path: Path) -> Iterator[Record]:
    data = path.read_bytes()
    assert data[:4] == b":W&B", path
    at, part = 7, b""
    while at < len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER.size:
            at += left
            continue
        _, length, kind = HEADER.unpack_from(data, at)
        part += data[at + HEADER.size : at + HEADER.size + length]
        at += HEADER.size + length
        if kind in (WHOLE, LAST):
            record = Record()
            record.ParseFromString(part)
            part = b""
            yield record


@dataclass
class OfflineRun:
    """One start of a run: what stands in its file, in plain values."""

    folder: Path
    id: str = ""
    group: str = ""
    name: str = ""
    resumes: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, dict[str, str]] = field(default_factory=dict)  # name -> path in it -> MD5 in base 64
    steps: dict[str, str] = field(default_factory=dict)  # a pattern of keys -> the key that they are shown over
    exit_code: int | None = None

    def logged(self) -> dict[str, Any]:
        """Every key of the history with its last value."""
        return {key: value for row in self.history for key, value in row.items()}

    def media(self, key: str) -> str:
        """The text of a logged file."""
        return (self.folder / "files" / self.logged()[key]["path"]).read_text(encoding="utf-8")


def offline_runs(folder: Path) -> list[OfflineRun]:
    """Every start in the run folder, first one first. All runs have to be finished."""
    wandb.teardown()  # W&B's own process closes its files some time after a run is finished; this waits for it
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    found = [read(path) for path in files]
    assert all(run.exit_code is not None for run in found)
    return found


def read(path: Path) -> OfflineRun:
    found = OfflineRun(path.parent)
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            found.id, found.group, found.name, found.resumes = run.run_id, run.run_group, run.display_name, run.resume
            found.config |= _values(run.config.update)
        elif kind == "history":
            found.history.append(_values(record.history.item))
        elif kind == "summary":
            found.summary |= _values(record.summary.update)
        elif kind == "metric" and record.metric.glob_name:
            found.steps[record.metric.glob_name] = record.metric.step_metric
        elif kind == "artifact" and record.artifact.type != "run_table":
            files = {entry.path: entry.digest for entry in record.artifact.manifest.contents}
            assert record.artifact.name not in found.artifacts
            found.artifacts[record.artifact.name] = files
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _values(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        first, *rest = item.nested_key or [item.key]
        value = json.loads(item.value_json)
        if rest:
            found.setdefault(first, {})["/".join(rest)] = value
        else:
            found[first] = value
    return {key: value for key, value in found.items() if not key.startswith("_")}


def synced(folder):
    """The folders that `wandb sync` would upload."""
    found = beta_sync._find_wandb_files([folder / "wandb"], skip_synced=True, skip_online=False, verbose=False)
    return {path.parent.resolve() for path in found}
