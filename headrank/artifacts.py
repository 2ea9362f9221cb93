"""Keys, freshness and status: what lets a run be killed at any moment and finished later.

Every artifact has a key, a hash of all it depends on, kept beside it in `.keys/`. A stage whose artifact carries the
key it would compute is skipped. The key is removed before an artifact is written anew and put back after, so a kill in
between leaves an artifact without a key, which is made again.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrank.files import atomic_write


def artifact_key(*parts: Any) -> str:
    """A hash of plain values, dataclasses and paths; equal content gives an equal key on every machine."""
    text = json.dumps(parts, sort_keys=True, default=_plain, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"type": type(value).__qualname__, **fields}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be part of an artifact key")


class RunFolder:
    """A run's folder: artifacts by relative name, their keys, and `status.json`.

    on_status: called with every status that is written.
    """

    def __init__(self, path: Path, on_status: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        self.path = path
        status = path / "status.json"
        earlier = json.loads(status.read_text(encoding="utf-8")) if status.is_file() else {}
        self.seconds: dict[str, float] = dict(earlier.get("seconds", {}))
        """Wall time of each stage, added up over all starts in this folder; of a stage that runs, up to its start."""
        self._on_status = on_status
        self._running: tuple[str, float] | None = None  # the stage and when it began

    def is_fresh(self, name: str, key: str) -> bool:
        """Whether the artifact is there and was made under this key."""
        marker = self._marker(name)
        return (self.path / name).is_file() and marker.is_file() and marker.read_text() == key

    def make(self, name: str, key: str, write: Callable[[Path], None]) -> bool:
        """Have `write` make the artifact unless it is fresh; whether it was made. `write` must be atomic."""
        if self.is_fresh(name, key):
            return False
        marker = self._marker(name)
        marker.unlink(missing_ok=True)
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target)
        with atomic_write(marker) as file:
            file.write(key)
        return True

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file of the run, atomically."""
        with atomic_write(self.path / name) as file:
            json.dump(content, file, indent=1)
            file.write("\n")

    def set_status(self, state: str, stage: str, **facts: Any) -> None:
        """Say in `status.json` where the run is: state `running`, `finished`, `failed` or (of a sweep's job that is
        another's copy) `same`, and at which stage. A traceback among the facts stands in `traceback.txt`, too."""
        clock = time.monotonic()
        if self._running is not None:
            before, began = self._running
            self.seconds[before] = self.seconds.get(before, 0.0) + clock - began
        self._running = (stage, clock)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        seconds = {name: round(value, 3) for name, value in self.seconds.items()}
        status = {"state": state, "stage": stage, "time": now, "seconds": seconds, **facts}
        self.write_json("status.json", status)
        if "traceback" in facts:
            with atomic_write(self.path / "traceback.txt") as file:
                file.write(facts["traceback"])
        else:
            (self.path / "traceback.txt").unlink(missing_ok=True)
        if self._on_status is not None:
            self._on_status(status)

    def status(self) -> dict[str, Any]:
        """What `status.json` says; nothing where there is none."""
        path = self.path / "status.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def _marker(self, name: str) -> Path:
        return self.path / ".keys" / f"{name.replace('/', '__')}.key"
