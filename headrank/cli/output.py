"""Write an output file step by step, so that the same command continues it after an interruption.

While it is incomplete, the file is called `NAME.partial`. `NAME.partial.json` holds the number of its valid bytes and
the state of the command after them. Both are removed when the file is complete.
"""

import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from headrank.data.parsing import text_fault
from headrank.errors import ConfigError, InUseError
from headrank.io.files import atomic_write, disk_errors


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raise `ConfigError` if the file exists and is not to be replaced, is a folder, or its folder does not exist."""
    if path.exists() and not overwrite:
        raise ConfigError(f"--output is {path}, which exists; remove it, or give --overwrite")
    if path.is_dir():
        raise ConfigError(f"--output is {path}, a folder; expected the name of a file")
    if not path.parent.is_dir():
        raise ConfigError(f"--output is {path}: the folder {path.parent} does not exist; make it first")


def json_text(content: dict[str, Any]) -> str:
    """One line of JSON. Text stays readable, unless it has a lone surrogate, which then stays an escape."""
    text = json.dumps(content, ensure_ascii=False) + "\n"
    return text if text_fault(text) is None else json.dumps(content) + "\n"


class ResumableOutput:
    """A text file that an interrupted command can continue; gzip-compressed if its name ends in `.gz`.

    Args:
        path: the file; None: stdout, which cannot be continued.
        key: identifies the input and the settings; a partial file with another key is replaced.
        overwrite: whether an existing complete file is replaced.

    Attributes:
        state: the state of the last `write` of an interrupted process with the same key; {} if there is none.

    Raises `ConfigError` if the file exists and `overwrite` is false or if its folder does not exist, and `InUseError`
    if another process writes the file.
    """

    def __init__(self, path: Path | None, key: str, *, overwrite: bool = False) -> None:
        self.path, self.key = path, key
        self.state: dict[str, Any] = {}
        if path is None:
            return
        check_output(path, overwrite=overwrite)
        self._partial = path.with_name(f"{path.name}.partial")
        self._record = path.with_name(f"{path.name}.partial.json")
        self._lock = FileLock(path.with_name(f"{path.name}.partial.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InUseError(f"{path}: another process writes it; wait for it, or choose another --output") from None
        record = self._earlier()
        if record is None:
            self._record.unlink(missing_ok=True)  # of another key: it must not survive the bytes that it describes
        size = int(record["bytes"]) if record else 0
        self.state = record["state"] if record else {}
        with disk_errors(path):
            self._file = self._partial.open("r+b" if record else "wb")
            self._file.truncate(size)
            self._file.seek(size)

    def _earlier(self) -> dict[str, Any] | None:
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            valid = record["key"] == self.key and self._partial.stat().st_size >= record["bytes"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record if valid else None

    def write(self, text: str, state: dict[str, Any]) -> None:
        """Append text, and record the state of the command after it. A kill loses at most the text of one call.

        state: plain values for JSON; the next process finds them in the attribute `state`.
        """
        if self.path is None:
            sys.stdout.write(text)
            sys.stdout.flush()
            return
        data = text.encode("utf-8")
        with disk_errors(self.path):
            if data:  # one gzip member for each step: equal steps give equal files
                self._file.write(gzip.compress(data, mtime=0) if self.path.suffix == ".gz" else data)
            self._file.flush()
            os.fsync(self._file.fileno())
            with atomic_write(self._record) as file:
                json.dump({"key": self.key, "bytes": self._file.tell(), "state": state}, file)

    def finish(self) -> None:
        """Rename the complete file to its final name, and remove the files that continuing it needed."""
        if self.path is None:
            return
        self._file.close()
        self._record.unlink(missing_ok=True)
        self._partial.replace(self.path)
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def close(self) -> None:
        """Close the file and release its lock. The same command can continue an incomplete file."""
        if self.path is not None:
            self._file.close()
            self._lock.release()
