"""Show the progress of training: a log line after each epoch with metrics and time left, and a bar within it."""

import logging
import time
from typing import Any

from lightning.pytorch import Callback, Trainer

from headrank.logs import Progress, seconds_text

logger = logging.getLogger(__name__)

SHOWN = {"train/loss": "loss", "val/ndcg@10": "val nDCG@10", "heads/overlap": "heads unchanged"}


class EpochProgress(Callback):
    """Logs `align: epoch 2 of 5: loss 1.23, val nDCG@10 0.51, 40 s an epoch, about 120 s left` on rank 0.

    The seconds per epoch are the mean over the epochs trained since this process started.

    Args:
        bars: whether to show a progress bar within each epoch.
    """

    def __init__(self, *, bars: bool = True) -> None:
        super().__init__()
        self.bars = bars
        self._progress: Progress | None = None
        self._start, self._trained = 0.0, 0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock. Epochs that were trained before a restart do not count."""
        self._start, self._trained = time.monotonic(), 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Open the progress bar of the epoch."""
        if self.bars and trainer.is_global_zero:
            batches = trainer.num_training_batches
            total = int(batches) if batches != float("inf") else None
            self._progress = Progress(total, self._epoch(trainer), "batch", plural="batches", log_end=False)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Advance the progress bar by one batch."""
        if self._progress is not None:
            self._progress.update()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Close the progress bar, and log the epoch's metrics, the mean time of an epoch and the time left."""
        if not trainer.is_global_zero:
            return
        if self._progress is not None:
            self._progress.close()
            self._progress = None
        self._trained += 1
        each = (time.monotonic() - self._start) / self._trained
        values = [
            f"{word} {float(trainer.callback_metrics[key]):.4g}"
            for key, word in SHOWN.items()
            if key in trainer.callback_metrics
        ]
        left = ((trainer.max_epochs or 0) - trainer.current_epoch - 1) * each
        values.append(f"{seconds_text(each)} an epoch")
        values += [f"about {seconds_text(left)} left"] if left > 0 else []
        logger.info("%s: %s", self._epoch(trainer), ", ".join(values))

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Close the progress bar."""
        if self._progress is not None:
            self._progress.close()

    @staticmethod
    def _epoch(trainer: Trainer) -> str:
        return f"align: epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
