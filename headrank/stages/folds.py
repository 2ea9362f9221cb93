"""Choose the number of epochs of alignment by cross-validation; the exported model trains on all labelled queries.

Each fold trains on the other folds and ranks its held-out lists after each epoch. Its model is discarded; its epoch log
`training/fold_1/epochs.csv` is an artifact. A killed run reuses the logs of finished folds and resumes the fold that it
was in.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from headrank.io.artifacts import RunFolder, artifact_key
from headrank.io.epoch_log import read_epoch_log

if TYPE_CHECKING:
    from headrank.alignment.job import AlignmentJob

logger = logging.getLogger(__name__)

MEASURE = "val/ndcg@10"


def fold_log(fold: int) -> str:
    """Return the path of a fold's epoch log in the run folder. The fold counts from 0, its folder from 1."""
    return f"training/fold_{fold + 1}/epochs.csv"


def fold_curve(folder: Path, folds: int) -> list[float]:
    """Return the mean nDCG@10 of the folds' held-out queries after each epoch, [epochs].

    Args:
        folder: the run folder.
        folds: the number of folds.

    Raises:
        ValueError: an epoch log is missing or lacks a value.
    """
    curves = []
    for path in (folder / fold_log(fold) for fold in range(folds)):
        curves.append([row.get(MEASURE) for row in read_epoch_log(path)])
        if not curves[-1] or None in curves[-1] or len(curves[-1]) != len(curves[0]):
            raise ValueError(
                f"{path}: expected {MEASURE} of every epoch; remove {folder / 'checkpoint'} to align again"
            )
    return [sum(values) / folds for values in zip(*curves, strict=True)]


def best_epochs(curve: Sequence[float]) -> int:
    """Return the number of epochs after which the mean over folds is highest; of equal ones the smallest. [ours]

    The alternative, the median of the folds' best epochs, is noisier: the best epoch of a few queries is mostly chance,
    and the mean over folds averages this noise before a maximum is taken.
    """
    return curve.index(max(curve)) + 1


def cross_validate(
    folder: RunFolder, job: "AlignmentJob", key: str, fit: Callable[["AlignmentJob"], None]
) -> "AlignmentJob":
    """Train each fold that is not finished, and return the job that trains on all queries.

    That job ends after `best_epochs`. Its learning rate follows the schedule of all epochs, as in the folds up to this
    epoch. Its probability calibration and a fitted fusion weight use the folds' held-out scores after this epoch, each
    from a model that was not trained on the list.

    Args:
        folder: the run folder.
        job: the alignment, with `settings.folds` above 0.
        key: the key of the alignment.
        fit: trains a job.
    """
    from headrank.alignment.checkpoint_files import HELD_OUT_SCORES, prepare_restart

    folds = job.settings.folds
    works = [(folder.path / fold_log(fold)).parent for fold in range(folds)]

    def train(fold: int, work: Path) -> None:
        logger.info("align: fold %d of %d", fold + 1, folds)
        prepare_restart(work)
        fit(replace(job, fold=fold, work=work))
        for checkpoint in work.glob("*.ckpt"):
            checkpoint.unlink()

    for fold, work in enumerate(works):
        scored = (work / HELD_OUT_SCORES).relative_to(folder.path).as_posix()
        fold_key = artifact_key("fold", key, fold)
        folder.make(fold_log(fold), fold_key, lambda _, fold=fold, work=work: train(fold, work), parts=[scored])
    curve = fold_curve(folder.path, folds)
    epochs = best_epochs(curve)
    logger.info("align: %d epochs have the best mean nDCG@10 over %d folds, %.4f", epochs, folds, max(curve))
    scores = [json.loads((work / HELD_OUT_SCORES).read_text(encoding="utf-8"))[epochs - 1] for work in works]
    return replace(job, epochs=epochs, held_out=tuple(tuple(one) for of_fold in scores for one in of_fold))
