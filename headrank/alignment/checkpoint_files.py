"""Checkpoints of a training on disk: written whole in their folder, with the one before kept, and checked on a restart.

Lightning writes a checkpoint to the system's temporary folder and copies it from there, so that a kill or a full disk
can leave half of one under its final name.
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


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary name in its folder, then renames it; the last but one is kept as well."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint. Raises `OSError` that names the path on a disk error."""
        path = Path(path)
        with atomic_write(path, "wb") as file:
            torch.save(checkpoint, file)
            if path.name == LAST and path.is_file():
                os.replace(path, path.with_name(PREVIOUS))  # a kill before the new one has its name leaves this one


class MovableCheckpoint(ModelCheckpoint):
    """Remembers the best epoch also if the folder was moved or renamed since; Lightning then forgets it, and a worse
    epoch would take the best one's place."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state with all its paths in this callback's folder."""
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        here = {name: self._here(state_dict[name]) for name in paths if name in state_dict}
        models = {self._here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict({**state_dict, **here, "best_k_models": models, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return os.path.join(self.dirpath or "", os.path.basename(path)) if path else path


def is_readable(path: Path) -> bool:
    """Whether a checkpoint is whole: every part of the archive has its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError):
        return False


def prepare_restart(work: Path) -> None:
    """Leave in a work folder only what a training can be continued from; called in one process, before it starts.

    An unreadable `last.ckpt` is replaced by the one before it. If neither can be read, or `best.ckpt` or
    the record of epochs cannot, everything is removed and training starts anew. A warning names the file.
    """
    best, last, previous = (work / name for name in (BEST, LAST, PREVIOUS))
    for path in (last, previous):
        if path.exists() and not is_readable(path):
            logger.warning("%s cannot be read and is removed", path)
            path.unlink()
    if not last.exists() and previous.exists():
        logger.warning("align: continuing from the epoch before, %s", previous)
        os.replace(previous, last)
    broken = next((path for path in (best,) if path.exists() and not is_readable(path)), None)
    if last.exists() and not best.exists():
        broken = best
    if not _is_record(work / EPOCHS):
        broken = work / EPOCHS
    if broken is not None:
        logger.warning("%s is missing or cannot be read: the alignment starts anew", broken)
    if broken is not None or not last.exists():
        for path in (best, last, previous, work / EPOCHS):
            path.unlink(missing_ok=True)


def _is_record(path: Path) -> bool:
    try:
        read_epoch_log(path)
    except (ValueError, KeyError, TypeError, csv.Error):
        return False
    return True
