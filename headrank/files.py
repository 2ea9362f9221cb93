"""Files and folders that appear whole or not at all: written under a temporary name beside the target, then renamed.

Every artifact of a run is written through here, so a process that is killed at any moment leaves the old file or the
new one, never half of one. What a kill can leave is a hidden `.<name>.<random>.tmp` entry, which nothing reads.
"""

import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal


def _temporary_sibling(path: Path) -> Path:
    """A new hidden name in the target's folder: a rename is atomic only within one file system."""
    # 40 characters of the name keep the whole below the usual limit of 255 bytes, in any script
    return path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex}.tmp")


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    r"""Open `path` for writing; its content changes only when the block ends without an exception.

    Mode `w` is UTF-8 text whose newlines stay as written (`\n` everywhere), `wb` is bytes. Missing parent folders are
    made. An exception inside the block removes the temporary file and leaves the target as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_sibling(path)
    text = mode == "w"
    try:
        # x: never onto an existing file. tempfile is not used because its files are readable by the owner alone.
        with temporary.open(
            "x" if text else "xb", encoding="utf-8" if text else None, newline="" if text else None
        ) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())  # the content is on the disk before the name points at it
        os.replace(temporary, path)
    except BaseException:  # also on Ctrl-C
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder that becomes `path` when the block ends without an exception.

    For folders that are written once and named by a key. Where `path` is there by then (another process was quicker),
    the one that is there stays and this one is removed. An exception removes it too.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_sibling(path)
    temporary.mkdir()
    try:
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
    """Yield an empty folder that takes the place of `path`, a folder or nothing, when the block ends without exception.

    For folders that are written again under the same name. Two renames cannot be one: a kill between them leaves the
    old and the new folder whole under hidden names, and `finish_replacing` completes the work. One process at a time.
    """
    path = Path(path)
    finish_replacing(path)
    with atomic_folder(_hidden(path, "new")) as scratch:
        yield scratch
    finish_replacing(path)


def finish_replacing(path: str | os.PathLike[str]) -> None:
    """Complete what a kill during `replaced_folder(path)` left undone, and remove what it left behind."""
    path = Path(path)
    new, old = _hidden(path, "new"), _hidden(path, "old")
    if new.is_dir():  # it is whole: it has its name from a rename
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
