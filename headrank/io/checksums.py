"""Checksums of files that this package wrote: whether a file is still what was written.

A checksum is size, SHA-256 and time of change. A file of up to 16 MiB is hashed whenever it is checked (some hundredths
of a second). A larger one is hashed only if its time of change differs from the recorded one, as after an edit or a
copy: that takes 1.4 s a GB on one core (.7 GB/s). So a change of a large file is not noticed if both its size and its
time of change are as before.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from headrank.io.files import atomic_write

LARGE = 16 * 2**20  # bytes
FOLDER_SUMS = ".checksums.json"
"""The file of a folder with the checksums of all its files."""

Checksum = dict[str, Any]
"""`size` in bytes, `sha256` in hexadecimal, `mtime_ns`."""


def checksum(path: Path) -> Checksum:
    """The checksum of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    stat = path.stat()
    return {"size": stat.st_size, "sha256": digest, "mtime_ns": stat.st_mtime_ns}


def matches(path: Path, expected: Mapping[str, Any]) -> bool:
    """Whether the file is there and has this checksum."""
    if not path.is_file() or path.stat().st_size != expected.get("size"):
        return False
    if path.stat().st_size > LARGE and path.stat().st_mtime_ns == expected.get("mtime_ns"):
        return True
    return checksum(path)["sha256"] == expected.get("sha256")


def write_folder_sums(folder: Path) -> None:
    """Record the checksums of all files of a folder and below it in its `.checksums.json`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FOLDER_SUMS)
    sums = {path.relative_to(folder).as_posix(): checksum(path) for path in files}
    with atomic_write(folder / FOLDER_SUMS) as file:
        json.dump(sums, file, indent=1)


def damaged_file(folder: Path) -> Path | None:
    """The first file of the folder that is not as `write_folder_sums` recorded it, or None. Files added since are
    ignored. If the record itself cannot be read, it is the damaged file."""
    try:
        sums = json.loads((folder / FOLDER_SUMS).read_text(encoding="utf-8"))
        return next((folder / name for name, expected in sums.items() if not matches(folder / name, expected)), None)
    except (OSError, ValueError, AttributeError):
        return folder / FOLDER_SUMS


def sums_path(path: Path) -> Path:
    """The hidden file with the checksum of a file that `checked_write` wrote."""
    return path.with_name(f".{path.name}.sum")


@contextmanager
def checked_write(path: Path, mode: Literal["w", "wb"] = "wb") -> Iterator[IO[Any]]:
    """`atomic_write` that also records the file's checksum, for `is_whole`.

    The checksum is renamed into place first, so that an existing file always has one. A kill between the two renames
    leaves an earlier file with a checksum that does not match, so it counts as damaged.
    """
    with atomic_write(path, mode) as file:
        yield file
        file.flush()
        with atomic_write(sums_path(path)) as sums:
            json.dump(checksum(Path(file.name)), sums)


def is_whole(path: Path) -> bool:
    """Whether a file is as `checked_write` wrote it."""
    try:
        expected = json.loads(sums_path(path).read_text(encoding="utf-8"))
        return isinstance(expected, dict) and matches(path, expected)
    except (OSError, ValueError):
        return False
