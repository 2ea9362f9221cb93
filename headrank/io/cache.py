"""Manage the cache folder, whose files can be rebuilt and are shared by all runs.

They are the converted default model, BM25 indexes, head tables and runs of untrained systems.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from headrank.io.files import disk_errors, remove_leftovers

_log = logging.getLogger(__name__)

LEFTOVER_AGE = 24 * 60 * 60.0
"""Seconds without change after which a temporary entry in a cache folder counts as left by a killed writer."""


def cache_folder() -> Path:
    """Return the cache folder: `$HEADRANK_CACHE` if set, else `headrank` in the user's cache folder.

    The folder is not created.
    """
    return Path(os.environ.get("HEADRANK_CACHE") or user_cache_path("headrank"))


@contextmanager
def cache_lock(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock `<folder>/locks/<name>` within the context. Wait while another process holds it.

    The system releases the lock of a killed process.
    """
    path = folder / "locks" / name
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.info("waiting for another process, which is building %s", name)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def clean_cache(folder: Path) -> None:
    """Remove temporary entries of the cache folder that have not changed for a day: their writers were killed."""
    for path in remove_leftovers(folder, age=LEFTOVER_AGE):
        _log.info("removed %s, left by a killed process", path)
