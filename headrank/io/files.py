"""Write files and folders atomically: under a temporary name next to the target, which is then renamed.

All artifacts are written with these functions, so a killed process leaves the old file or the new one, never a partial
file. A kill can leave a hidden `.<name>.<random>.tmp` entry. Nothing reads it, and `remove_leftovers` removes it.
"""

import errno
import glob
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from headrank.errors import DiskError

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{32}\.tmp")
_DISK_ERRORS = {
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EFBIG: "the file is larger than the file system or `ulimit -f` allows",
    errno.EIO: "the device reports an input/output error",
}
_REPORTED = re.compile(r"\(os error (\d+)\)")  # the system's error number in an error of safetensors
_NUMPY = re.compile(r"\d+ requested and \d+ written")  # numpy's error on a full disk has no number


@contextmanager
def disk_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Convert disk errors within the context (no space, quota, read-only) to a `DiskError` that names `path`.

    Python's own error of a failed write names no file, and numpy, safetensors and torch hide the system's error. Other
    errors, and errors that name a file, are raised unchanged.
    """
    try:
        yield
    except Exception as error:
        number = None if getattr(error, "filename", None) is not None else _disk_number(error)
        if number is None:
            raise
        raise _disk_error(number, path) from error


def _disk_number(error: BaseException | None) -> int | None:
    """The system's error number of a disk error, from the exception or one in its chain."""
    while error is not None:
        reported = _REPORTED.search(str(error))
        number = error.errno if isinstance(error, OSError) else int(reported[1]) if reported else None
        if number in _DISK_ERRORS:
            return number
        if isinstance(error, OSError) and _NUMPY.search(str(error)):
            return errno.ENOSPC
        error = error.__cause__ or error.__context__
    return None


def _disk_error(number: int, path: str | os.PathLike[str]) -> DiskError:
    text = f"{_DISK_ERRORS[number]}; free space or choose another folder; the same command resumes"
    return DiskError(number, text, str(path))


def remove_leftovers(folder: str | os.PathLike[str], *, age: float = 0, name: str | None = None) -> list[Path]:
    """Remove the temporary files and folders that killed writers left in a folder and its subfolders.

    Args:
        folder: the folder.
        age: in seconds; entries that changed more recently stay. 0 is safe only if no other process is writing there.
        name: remove only the temporary entries of the file or folder of this name; None: all.

    Returns:
        The removed paths.
    """
    removed: list[Path] = []
    newest = time.time() - age
    for here, folders, files in os.walk(folder):
        for entry in [*folders, *files]:
            path = Path(here) / entry
            if not _TEMPORARY.fullmatch(entry) or (name is not None and not entry.startswith(f".{name[:40]}.")):
                continue
            if age and _last_modified(path) > newest:
                continue
            if entry in folders:
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            removed.append(path)
        folders[:] = [entry for entry in folders if not _TEMPORARY.fullmatch(entry)]
    return removed


def _last_modified(path: Path) -> float:
    """The last modification time of a file or of anything in a folder, in seconds since 1970."""
    times = []
    for one in (path, *path.rglob("*")):
        try:
            times.append(one.lstat().st_mtime)
        except FileNotFoundError:  # its writer has finished
            return time.time()
    return max(times)


def _temporary_sibling(path: Path) -> Path:
    """A new hidden name in the target's folder: a rename is atomic only within one file system."""
    # 40 characters of the name keep the whole below the usual limit of 255 bytes, in any script
    return path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex}.tmp")


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    r"""Open `path` for writing; its content changes only when the context ends without an exception.

    Mode `w` is UTF-8 text with `\n` newlines, `wb` is bytes. Missing parent folders are created. An exception within
    the context removes the temporary file and leaves the target unchanged. A disk error names the target.
    """
    path = Path(path)
    temporary = _temporary_sibling(path)
    text = mode == "w"
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # x: never overwrites a file. tempfile is not used because only the owner can read its files.
            with temporary.open(
                "x" if text else "xb", encoding="utf-8" if text else None, newline="" if text else None
            ) as handle:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())  # the content must be on the disk before the rename
            os.replace(temporary, path)
    except BaseException:  # also on Ctrl-C
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder that becomes `path` when the context ends without an exception.

    It is for folders that are written once and named by a key. If another process has created `path` by then, that
    folder stays and the new one is removed. An exception removes the new one too.
    """
    path = Path(path)
    temporary = _temporary_sibling(path)
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            try:
                os.rename(temporary, path)
            except OSError:
                if not path.is_dir():
                    raise
                shutil.rmtree(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def replaced_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder that replaces the folder `path`, if any, when the context ends without an exception.

    It is for folders that are rewritten under the same name. Replacing takes two renames: a kill between them leaves
    the old and the new folder complete under hidden names, and `finish_replacing` completes the replacement. Only one
    process at a time may use it.
    """
    path = Path(path)
    finish_replacing(path)
    with atomic_folder(_hidden(path, "new")) as scratch:
        yield scratch
    finish_replacing(path)


def finish_replacing(path: str | os.PathLike[str]) -> None:
    """Complete a `replaced_folder(path)` that was killed, and remove its temporary folders."""
    path = Path(path)
    new, old = _hidden(path, "new"), _hidden(path, "old")
    if new.is_dir():  # complete: it got its name by a rename
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        new.rename(path)
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
    for scratch in path.parent.glob(f".{glob.escape(new.name[:40])}.*.tmp"):
        shutil.rmtree(scratch)


def _hidden(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name[:30]}.{kind}")
