"""Checkpoint files of alignment: written atomically, with the previous one kept, and checked when training restarts.

Lightning itself writes a checkpoint to the system's temporary folder and copies it, so a kill or a full disk can leave
a partial file under the final name.
"""

import csv
import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from headrank.io.epoch_log import read_epoch_log
from headrank.io.files import atomic_write

logger = logging.getLogger(__name__)

BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "last.previous.ckpt"
EPOCHS = "epochs.csv"
HELD_OUT_SCORES = "held_out.json"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in the same folder and renames it; keeps the previous `last.ckpt`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint atomically. An existing `last.ckpt` is renamed to `last.previous.ckpt` first.

        Args:
            checkpoint: the content.
            path: the checkpoint file.
            storage_options: not used.

        Raises:
            OSError: a disk error; the message names the path.
        """
        path = Path(path)
        with atomic_write(path, "wb") as file:
            torch.save(checkpoint, file)
            if path.name == LAST and path.is_file():
                os.replace(path, path.with_name(PREVIOUS))  # a kill before the new file is renamed leaves this one


class MovableCheckpoint(ModelCheckpoint):
    """A checkpoint callback that still finds its best epoch after the folder is moved or renamed.

    Lightning's own callback does not find it, and would replace the best checkpoint by that of a worse epoch.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state. Checkpoint paths keep their file names and get this callback's folder."""
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        here = {name: self._here(state_dict[name]) for name in paths if name in state_dict}
        models = {self._here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict({**state_dict, **here, "best_k_models": models, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return os.path.join(self.dirpath or "", os.path.basename(path)) if path else path


def is_readable(path: Path) -> bool:
    """Return whether a checkpoint file is complete, that is, a zip archive whose parts match their checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError):
        return False


def prepare_restart(work: Path) -> None:
    """Prepare the work folder so that training resumes from the newest readable checkpoint, or starts anew.

    If `last.ckpt` is missing or unreadable, `last.previous.ckpt` replaces it. If neither of the two is readable, if
    `best.ckpt` is missing or unreadable, or if the epoch log is unreadable, all checkpoints and the epoch log are
    removed. A warning names each unreadable file. Call this function in one process, before training.

    Args:
        work: the folder that holds `best.ckpt`, `last.ckpt`, `last.previous.ckpt` and `epochs.csv`.
    """
    best, last, previous = (work / name for name in (BEST, LAST, PREVIOUS))
    for path in (last, previous):
        if path.exists() and not is_readable(path):
            logger.warning("%s cannot be read and is removed", path)
            path.unlink()
    if not last.exists() and previous.exists():
        logger.warning("align: resuming from the previous epoch, %s", previous)
        os.replace(previous, last)
    broken = next((path for path in (best,) if path.exists() and not is_readable(path)), None)
    if last.exists() and not best.exists():
        broken = best
    if not _is_record(work / EPOCHS):
        broken = work / EPOCHS
    if broken is not None:
        logger.warning("%s is missing or cannot be read: training starts from the beginning", broken)
    if broken is not None or not last.exists():
        for path in (best, last, previous, work / EPOCHS):
            path.unlink(missing_ok=True)


def _is_record(path: Path) -> bool:
    try:
        read_epoch_log(path)
    except (ValueError, KeyError, TypeError, csv.Error):
        return False
    return True
