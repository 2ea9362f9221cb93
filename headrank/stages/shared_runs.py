"""Runs kept in a folder for other jobs of a sweep, which would make the very same ones.

In a sweep over alignments the systems that no training touches (the heads before it, the other systems) are the same in
every job. A run is kept under a key of all that it depends on, the versions and the device included.
"""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from filelock import FileLock

from headrank.data import read_run, write_run
from headrank.io.artifacts import artifact_key
from headrank.io.cache import LEFTOVER_AGE
from headrank.io.checksums import FOLDER_SUMS, damaged_file, write_folder_sums
from headrank.io.files import atomic_write, finish_replacing, remove_leftovers, replaced_folder
from headrank.stages.keys import project_version

logger = logging.getLogger(__name__)


class SharedRuns:
    """Runs by their keys. Several processes may use the folder at once: others wait for a run that one is making."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        remove_leftovers(folder, age=LEFTOVER_AGE)

    def make(
        self,
        key: tuple[str, ...],
        device: str,
        run: Path,
        contexts: Path,
        tag: str,
        write: Callable[[Path], None],
    ) -> None:
        """Put the run of this key to `run`, under this tag, and its scores in context order to `contexts`: taken over
        where they are kept, else made by `write(run)`, which writes both, and kept. One that was edited or is damaged
        is made again, with a warning that names the file.

        device: what it is made on. If it cannot be kept (a full disk), a warning says so.
        """
        made_with = (project_version(), str(torch.__version__), transformers.__version__)
        on = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
        kept = self.folder / artifact_key(key, run.name, on, made_with)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{kept}.lock"):
            if self._is_whole(kept):
                with atomic_write(contexts) as file:
                    file.write((kept / contexts.name).read_text(encoding="utf-8"))
                write_run(run, read_run(kept / run.name), tag=tag)
                logger.info("rerank: %s is the same as in another job", run.name)
                return
            write(run)
            try:
                with replaced_folder(kept) as copies:
                    for path in (run, contexts):
                        shutil.copyfile(path, copies / path.name)
                    write_folder_sums(copies)
            except OSError as error:
                logger.warning("rerank: %s could not be kept for other jobs: %s", run.name, error)

    @staticmethod
    def _is_whole(kept: Path) -> bool:
        finish_replacing(kept)
        if not (kept / FOLDER_SUMS).is_file():
            return False
        damaged = damaged_file(kept)
        if damaged is not None:
            logger.warning("%s was edited or is damaged; the run is made again", damaged)
        return damaged is None
