"""Compute checksums, which detect edits and damage of files that this package wrote.

A checksum is size, SHA-256 and modification time. A file of up to 16 MiB is hashed at every check (some hundredths of a
second). A larger file is hashed only if its modification time differs from the recorded one, as after an edit or a copy
(1.4 s per GB on one core). So an edit of a large file that keeps both size and modification time is not detected.
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
    """Return the checksum of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    stat = path.stat()
    return {"size": stat.st_size, "sha256": digest, "mtime_ns": stat.st_mtime_ns}


def matches(path: Path, expected: Mapping[str, Any]) -> bool:
    """Return whether the file exists and has the content of the `Checksum` `expected`.

    A file above 16 MiB with the expected size and modification time matches without being hashed.
    """
    if not path.is_file() or path.stat().st_size != expected.get("size"):
        return False
    if path.stat().st_size > LARGE and path.stat().st_mtime_ns == expected.get("mtime_ns"):
        return True
    return checksum(path)["sha256"] == expected.get("sha256")


def write_folder_sums(folder: Path) -> None:
    """Write the checksums of all files in a folder and its subfolders to its `.checksums.json`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FOLDER_SUMS)
    sums = {path.relative_to(folder).as_posix(): checksum(path) for path in files}
    with atomic_write(folder / FOLDER_SUMS) as file:
        json.dump(sums, file, indent=1)


def damaged_file(folder: Path) -> Path | None:
    """Find the first file that is missing or differs from the checksums that `write_folder_sums` wrote.

    Returns:
        The file's path; None if all files match. Files without a checksum are ignored. If `.checksums.json` itself is
        missing or cannot be read, its path.
    """
    try:
        sums = json.loads((folder / FOLDER_SUMS).read_text(encoding="utf-8"))
        return next((folder / name for name, expected in sums.items() if not matches(folder / name, expected)), None)
    except (OSError, ValueError, AttributeError):
        return folder / FOLDER_SUMS


def sums_path(path: Path) -> Path:
    """Return the path of the hidden file to which `checked_write` writes the checksum of the file `path`."""
    return path.with_name(f".{path.name}.sum")


@contextmanager
def checked_write(path: Path, mode: Literal["w", "wb"] = "wb") -> Iterator[IO[Any]]:
    """Write a file atomically and record its checksum for `is_whole`. See `atomic_write` for the arguments.

    The checksum is renamed into place before the file, so an existing file always has one. A kill between the two
    renames leaves the old file with the checksum of the new one; `is_whole` then returns False.
    """
    with atomic_write(path, mode) as file:
        yield file
        file.flush()
        with atomic_write(sums_path(path)) as sums:
            json.dump(checksum(Path(file.name)), sums)


def is_whole(path: Path) -> bool:
    """Return whether the file has the content that `checked_write` wrote.

    False if the file or its checksum is missing.
    """
    try:
        expected = json.loads(sums_path(path).read_text(encoding="utf-8"))
        return isinstance(expected, dict) and matches(path, expected)
    except (OSError, ValueError):
        return False
