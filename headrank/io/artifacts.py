"""Manage the keys, checksums, lock and status of a run folder, so that a killed run can be resumed.

An artifact is an output of a stage: a file of the run folder, with any files that belong to it. Every artifact has a
key, a hash of what its numbers depend on. `.keys/` holds the key with the checksums of the artifact's files. A stage is
skipped if its artifact has the expected key and content. The key is removed before an artifact is written and recorded
after, so a kill in between leaves an artifact without a key, which is rebuilt. One process at a time works in a run
folder. It holds the lock `.lock`, which the system releases when the process ends.
"""

import dataclasses
import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from headrank.errors import ArtifactError, InUseError
from headrank.io.checksums import checksum, matches
from headrank.io.files import atomic_write, disk_errors, remove_leftovers

logger = logging.getLogger(__name__)


def artifact_key(*parts: Any) -> str:
    """Hash plain values, dataclasses, paths and sets to a key. Equal content gives an equal key on every machine."""
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
    """A run folder: its artifacts, their keys and checksums, the lock, and `status.json`.

    Args:
        path: the folder; it need not exist.
        on_status: called with every status that `set_status` writes.

    Methods name an artifact by the path of its main file relative to the folder, such as `metrics/dl20.json`.
    """

    def __init__(self, path: Path, on_status: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        self.path = path
        earlier = self.status().get("seconds")
        earlier = earlier if isinstance(earlier, dict) else {}
        self.seconds: dict[str, float] = {k: v for k, v in earlier.items() if isinstance(v, int | float)}
        """Wall time of each stage, summed over all starts in this folder, without the running stage."""
        self._on_status = on_status
        self._running: tuple[str, float] | None = None  # the running stage and its start time

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder's lock within the context, and first remove temporary files of killed writers.

        Raises `InUseError` at once if another process holds the lock. The message names that process.
        """
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            held = FileLock(self.path / ".lock")
            try:
                held.acquire(timeout=0)
            except Timeout:
                raise InUseError(
                    f"{self.path} is in use by {self._holder()}: wait for it or stop it, or choose another folder with "
                    "name=... or paths.output=..."
                ) from None
        holder = self.path / ".holder.json"
        try:
            for path in remove_leftovers(self.path):
                logger.info("removed %s, left by a killed process", path)
            started = datetime.now(UTC).isoformat(timespec="seconds")
            with atomic_write(holder) as file:
                json.dump({"pid": os.getpid(), "host": socket.gethostname(), "started": started}, file)
            yield
        finally:
            holder.unlink(missing_ok=True)
            held.release()

    def _holder(self) -> str:
        """The holder of the lock, as it recorded itself."""
        try:
            holder = json.loads((self.path / ".holder.json").read_text(encoding="utf-8"))
            return f"process {holder['pid']} on {holder['host']}, started {holder['started']}"
        except (OSError, ValueError, KeyError, TypeError):  # the holder has not written its file yet
            return "another process, which has just started"

    def is_fresh(self, name: str, key: str) -> bool:
        """Return whether the artifact exists, has this key, and its files match the recorded checksums.

        If only a checksum differs, a warning names the file.
        """
        record = self._record(name)
        if record.get("key") != key or not (self.path / name).is_file() or not isinstance(record.get("files"), dict):
            return False
        damaged = self._damaged(record)
        if damaged is not None:
            logger.warning("%s was edited or is damaged", self.path / damaged)
        return damaged is None

    def make(self, name: str, key: str, write: Callable[[Path], None], parts: Sequence[str] = ()) -> bool:
        """Write the artifact and record its key and checksums, unless it is fresh (`is_fresh`).

        Args:
            name: the artifact.
            key: its expected key.
            write: called with the path to write; it must write atomically.
            parts: relative paths of further files that belong to the artifact, or of folders with all their files.

        Returns:
            Whether `write` was called.
        """
        if self.is_fresh(name, key):
            return False
        self._marker(name).unlink(missing_ok=True)
        target = self.path / name
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            write(target)
        self.record(name, key, parts)
        return True

    def record(self, name: str, key: str, parts: Sequence[str] = ()) -> None:
        """Record the key of an existing artifact and the checksums of its files. See `make` for the arguments."""
        paths = [self.path / part for part in (name, *parts)]
        files = {file for path in paths for file in (path.rglob("*") if path.is_dir() else (path,)) if file.is_file()}
        sums = {file.relative_to(self.path).as_posix(): checksum(file) for file in sorted(files)}
        with atomic_write(self._marker(name)) as out:
            json.dump({"key": key, "files": sums}, out, indent=1)

    def check(self, name: str, key: str) -> None:
        """Raise `ArtifactError` if the artifact has this key, but one of its files is missing or was changed.

        The message names the file. An artifact with another key, or without a key, passes. It is for artifacts that are
        too expensive to rebuild without the user's consent.
        """
        record = self._record(name)
        damaged = self._damaged(record) if record.get("key") == key else None
        if damaged is not None:
            raise ArtifactError(
                f"{self.path / damaged} was edited or is damaged. Restore the original file, or delete "
                f"{(self.path / damaged).parent} to build it again"
            )

    def edited_file(self, start: str = "") -> str | None:
        """Find the first existing file whose content differs from its recorded checksum.

        Args:
            start: only artifacts whose names begin with this text are checked.

        Returns:
            The file's path relative to the folder; None if no file differs. Missing files do not count.
        """
        markers = sorted((self.path / ".keys").glob(f"{start.replace('/', '__')}*.key"))
        damaged = (self._damaged(_read_record(marker), missing=False) for marker in markers)
        return next((name for name in damaged if name is not None), None)

    def _damaged(self, record: Mapping[str, Any], *, missing: bool = True) -> str | None:
        """The first file that does not match its record. missing: whether a missing file counts."""
        for name, expected in record.get("files", {}).items():
            path = self.path / name
            if (missing or path.exists()) and not matches(path, expected):
                return name
        return None

    def write_json(self, name: str, content: Any) -> None:
        """Write `content` as the JSON file `name` of the run folder, atomically."""
        with atomic_write(self.path / name) as file:
            json.dump(content, file, indent=1)
            file.write("\n")

    def set_status(self, state: str, stage: str, **facts: Any) -> None:
        """Write the run's state and stage to `status.json`.

        The status also holds the time, the seconds of each stage and `facts`. A fact `traceback` is also written to
        `traceback.txt`; without it that file is removed.

        Args:
            state: `running`, `finished`, `failed`, `interrupted`, or `same` (a sweep's job that equals another one).
            stage: the current stage. The seconds since the previous call are added to those of the previous stage.
            facts: further values for JSON.
        """
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
        """Return the content of `status.json`; empty if it does not exist or cannot be read."""
        return _read_json(self.path / "status.json")

    def _marker(self, name: str) -> Path:
        return self.path / ".keys" / f"{name.replace('/', '__')}.key"

    def _record(self, name: str) -> dict[str, Any]:
        return _read_record(self._marker(name))


def _read_record(path: Path) -> dict[str, Any]:
    """An artifact's key and checksums; empty if they do not exist or, with a warning, cannot be read."""
    record = _read_json(path)
    files = record.get("files", {})
    if isinstance(files, dict) and all(isinstance(expected, dict) for expected in files.values()):
        return record
    logger.warning("%s is damaged and is ignored", path)
    return {}


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty if the file does not exist or, with a warning, cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    except FileNotFoundError:
        return {}
    except ValueError:
        pass
    logger.warning("%s is damaged and is ignored", path)
    return {}
