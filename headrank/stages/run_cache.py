"""Cache runs: a run of an untrained system is computed once and copied into other run folders.

Untrained systems are the baselines and the main system before alignment. The cache key extends the key of the run by
settings and versions that change only timing and rounding (package versions, device, batch sizes). So copied scores and
times are those that computing the run again would give.
"""

import inspect
import logging
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import transformers

from headrank.data import read_run, write_run
from headrank.io.artifacts import artifact_key
from headrank.io.cache import cache_lock
from headrank.io.checksums import FOLDER_SUMS, checksum, damaged_file, write_folder_sums
from headrank.io.files import atomic_write, finish_replacing, replaced_folder
from headrank.stages.key_fields import key_exclusions
from headrank.stages.keys import project_version

logger = logging.getLogger(__name__)

RUN, CONTEXTS = "run.trec", "contexts.json"


class RunCache:
    """The runs in `runs/` of the cache folder, by key.

    Each entry is a folder with a TREC run and its scores in context order. Several processes may use the cache at once:
    a process waits for a run that another one is computing.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def make(self, key: str, run: Path, contexts: Path, tag: str, write: Callable[[Path], None]) -> None:
        """Copy the cached run with this key to `run` and `contexts`, or compute it with `write(run)` and cache it.

        A damaged entry is computed again, with a warning that names the file. If the cache cannot be used, the run is
        computed without it and a warning is logged.

        Args:
            key: see `cache_key`.
            run: where the TREC run is written.
            contexts: where the scores in context order are written.
            tag: the last column of a copied TREC run.
            write: computes the run and writes both files.
        """
        entry = self.cache / "runs" / key
        with ExitStack() as stack:
            try:
                stack.enter_context(cache_lock(self.cache, f"run_{key}"))
                finish_replacing(entry)
            except OSError as error:
                logger.warning("rerank: %s is computed without the cache: %s", run.name, error)
                write(run)
                return
            if _is_whole(entry):
                with atomic_write(contexts) as file:
                    file.write((entry / CONTEXTS).read_text(encoding="utf-8"))
                write_run(run, read_run(entry / RUN), tag=tag)
                logger.info("rerank: %s copied from the cache", run.name)
                return
            write(run)
            try:
                with replaced_folder(entry) as folder:
                    shutil.copyfile(run, folder / RUN)
                    shutil.copyfile(contexts, folder / CONTEXTS)
                    write_folder_sums(folder)
            except OSError as error:
                logger.warning("rerank: %s could not be cached: %s", run.name, error)


def cache_key(run_key: str, device: str, *settings: Any) -> str:
    """Return the key of a run in the cache.

    Args:
        run_key: the key of the run in the run folder.
        device: the torch device that computes the run.
        settings: the settings that compute it. Their fields that `run_key` leaves out (`key_fields.LEFT_OUT`) are
            included, and so is the source file of a class from outside this package.
    """
    hardware = torch.cuda.get_device_name(device) if device.startswith("cuda") else (device, torch.get_num_threads())
    versions = (project_version(), str(torch.__version__), transformers.__version__)
    kinds = [(type(one).__module__, type(one).__qualname__, _source(type(one))) for one in settings]
    return artifact_key("cached run", run_key, hardware, versions, kinds, [key_exclusions(one) for one in settings])


def _source(kind: type) -> str | None:
    """The SHA-256 of the file that defines a class outside this package: its version says nothing about that code."""
    if kind.__module__.partition(".")[0] == "headrank":
        return None
    try:
        return str(checksum(Path(inspect.getfile(kind)))["sha256"])
    except (OSError, TypeError):  # defined in an interactive session
        return None


def _is_whole(entry: Path) -> bool:
    if not (entry / FOLDER_SUMS).is_file():
        return False
    damaged = damaged_file(entry)
    if damaged is not None:
        logger.warning("%s was edited or is damaged; the run is computed again", damaged)
    return damaged is None
