"""Run an alignment: train with Lightning and export the best checkpoint as a model folder.

    align(AlignmentJob(...))

A killed run with the same work folder resumes after its last complete epoch. If training had finished, the best
checkpoint is exported at once. The export loads that checkpoint into a new model, so it does not depend on the number
of processes or on sharding.
"""

import csv
import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping

from headrank.alignment.averaging import WeightAverage
from headrank.alignment.callbacks import HeldOutScores, ReselectHeads
from headrank.alignment.checkpoint_files import BEST, HELD_OUT_SCORES, LAST, AtomicCheckpointIO, MovableCheckpoint
from headrank.alignment.distributed import ProcessGroup, cluster, spawn
from headrank.alignment.epoch_progress import EpochProgress
from headrank.alignment.export import export_aligned
from headrank.alignment.job import AlignmentJob
from headrank.alignment.module import AlignmentModule
from headrank.alignment.settings import TrainerSettings
from headrank.alignment.sharding import ShardedStrategy
from headrank.alignment.validation import HELD_OUT
from headrank.data.datamodule import ListwiseDataModule
from headrank.heads import HeadsFile
from headrank.io.epoch_log import read_epoch_log
from headrank.io.files import atomic_write
from headrank.io.launch import Launch
from headrank.logs import quiet_lightning
from headrank.model import load_backbone

logger = logging.getLogger(__name__)

MONITOR = "val/ndcg@10"

EpochObserver = Callable[[Sequence[Mapping[str, float | int]]], None]
"""Called after each epoch, on rank 0, with all rows of the epoch log."""


class EpochCsvWriter(Callback):
    """Writes the logged values of every epoch to a CSV file, one row per epoch; a resumed run keeps the earlier rows.

    Args:
        path: the CSV file.
        observe: called after each epoch with all rows; None: nothing is called.
    """

    def __init__(self, path: Path, observe: EpochObserver | None = None) -> None:
        super().__init__()
        self.path, self.observe = path, observe

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the row of this epoch, on rank 0."""
        if not trainer.is_global_zero:
            return
        values = {
            k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(("train/", "val/", "heads/"))
        }
        rows = [row for row in read_epoch_log(self.path) if row["epoch"] < trainer.current_epoch]
        rows.append({"epoch": trainer.current_epoch, **values})
        names = list(dict.fromkeys(name for row in rows for name in row))
        with atomic_write(self.path) as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        if self.observe is not None:
            self.observe(rows)


class RestoreSigtermHandler(Callback):
    """Replaces Lightning's SIGTERM handler during training by the one that was set when this object was created.

    Lightning's handler first broadcasts to the other processes. If these are in another collective call, all processes
    wait forever.
    """

    def __init__(self) -> None:
        super().__init__()
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Restore the earlier handler. Do nothing outside the main thread, or if no handler was set."""
        main = threading.current_thread() is threading.main_thread()
        if main and self._handler not in (None, signal.SIG_DFL):
            signal.signal(signal.SIGTERM, self._handler)


class ResumableEarlyStopping(EarlyStopping):
    """Early stopping that also holds after a restart. Lightning's own would train one more epoch."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop training at once if it had already stopped before the restart."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


def align(job: AlignmentJob, group: ProcessGroup | None = None, on_epoch: EpochObserver | None = None) -> HeadsFile:
    """Train and export the best epoch to `job.folder`. Call this function in one process, which is rank 0 of the group.

    Args:
        job: what to train.
        group: the processes that torchrun or srun launched. None: this function starts the processes if the trainer
            settings have several devices.
        on_epoch: called after each epoch with all rows of the epoch log; None: nothing is called. It is not called if
            this function starts several processes.

    Returns:
        The heads of the exported model.

    Raises the errors of `AlignmentModule`, of loading data and of `export_aligned`. Wrong input raises before the first
    training step.
    """
    fit(job, group, on_epoch)
    if group is not None:
        group.broadcast_job(None)
        group.destroy()
    return export_best(job)


def fit(job: AlignmentJob, group: ProcessGroup | None = None, on_epoch: EpochObserver | None = None) -> None:
    """Train in all processes of the job, without an export. The arguments and errors are those of `align`."""
    if group is not None:
        group.broadcast_job(job)
        train(job, on_epoch)
    elif job.settings.trainer.processes > 1:
        spawn(train, job, job.settings.trainer.processes)
    else:
        train(job, on_epoch)


def train(job: AlignmentJob, on_epoch: EpochObserver | None = None) -> None:
    """Train as one process of the job. Rank 0 writes `best.ckpt`, `last.ckpt` and `epochs.csv` to `job.work`.

    If `last.ckpt` exists, training resumes from it.

    Args:
        job: what to train.
        on_epoch: called on rank 0 after each epoch with all rows of the epoch log; None: nothing is called.
    """
    settings, machine, work = job.settings, job.settings.trainer, job.work
    quiet_lightning()
    seed_everything(settings.seed, workers=True, verbose=False)
    data = ListwiseDataModule(
        job.sources,
        validation_queries=settings.validation_queries,
        lists_per_batch=settings.lists_per_batch,
        lists_per_step=settings.lists_per_step,
        shuffle_candidates=settings.shuffle_candidates,
        relevant_in_zone=settings.relevant_in_zone,
        draw_candidates=settings.draw_candidates,
        draw_depth=settings.draw_depth,
        query_fraction=settings.query_fraction,
        fold=None if job.fold is None else (job.fold, settings.folds),
        seed=settings.seed,
        cache_dir=job.cache,
    )
    # Several processes would all load to the same GPU, so each loads to memory and Lightning moves it to its GPU.
    module = _module(job, device="cpu" if machine.processes > 1 else job.model.device)
    monitored = settings.validation_queries > 0 or job.fold is not None
    best = MovableCheckpoint(  # only exported, never resumed: a third of the size without the optimizer's state
        work,
        BEST.removesuffix(".ckpt"),
        monitor=MONITOR if monitored else None,
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
    )
    # A separate callback: with a monitor, `save_last` writes only when the monitored value improves.
    latest = MovableCheckpoint(work, LAST.removesuffix(".ckpt"), enable_version_counter=False)
    callbacks: list[Callback] = [
        EpochCsvWriter(work / "epochs.csv", on_epoch),
        EpochProgress(bars=machine.progress_bar),
        best,
        latest,
        RestoreSigtermHandler(),
    ]
    if settings.reselects:
        callbacks.insert(
            0,
            ReselectHeads(
                job.criterion,
                reselect_every=settings.reselect_every,
                count=len(job.heads.heads),
                seeds=settings.reselect_seeds,
            ),
        )
    if settings.average_decay:
        callbacks.insert(0, WeightAverage(settings.average_decay))
    if job.fold is not None:
        callbacks.append(HeldOutScores(work / HELD_OUT_SCORES))
    if settings.patience:
        callbacks.append(ResumableEarlyStopping(MONITOR, mode="max", patience=settings.patience))
    trainer = Trainer(
        **machine_options(machine, Launch.from_environment()),
        max_epochs=job.epochs or settings.epochs,
        accumulate_grad_batches=settings.lists_per_step // (settings.lists_per_batch * machine.processes),
        gradient_clip_val=settings.optimizer.clip,
        callbacks=callbacks,
        logger=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if monitored else 0,
    )
    last = work / LAST
    if last.is_file():
        logger.info("align: resuming from %s", last)
    with warnings.catch_warnings():
        # Lightning warns of a folder that holds checkpoints, which is how a killed run resumes.
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty", UserWarning)
        with without_cudnn_attention():
            trainer.fit(module, datamodule=data, ckpt_path=str(last) if last.is_file() else None)
    if best.best_model_score is not None and trainer.is_global_zero:
        logger.info("align: best %s %.4f", MONITOR, float(best.best_model_score))
    if module.cuts:
        logger.info("align: cut %s (all epochs, this process)", module.cuts)


@contextmanager
def without_cudnn_attention() -> Iterator[None]:
    """Disable cuDNN's attention within this context. Use it around your own `Trainer.fit` too.

    Since PyTorch 2.11 some gradients of cuDNN's attention under a mask are NaN on Hopper GPUs (pytorch/pytorch#196678).
    Training with prompts in blocks also ended in an illegal memory access while it was enabled; the cause is not
    confirmed.
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def machine_options(machine: TrainerSettings, launch: Launch) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer for devices, processes, precision and checkpoint files.

    Args:
        machine: the trainer settings.
        launch: how this process was launched.

    Returns:
        Name of the argument -> value, for example `devices` -> 2.
    """
    strategy = "ddp" if machine.processes > 1 else "auto"
    return {
        "accelerator": machine.accelerator,
        "devices": machine.devices,
        "num_nodes": machine.num_nodes,
        "strategy": ShardedStrategy(machine.processes) if machine.strategy == "fsdp" else strategy,
        "plugins": [cluster(launch), AtomicCheckpointIO()],
        "precision": machine.precision,
        "enable_progress_bar": False,  # EpochProgress shows it
    }


def export_best(job: AlignmentJob) -> HeadsFile:
    """Export the best checkpoint of a finished training to `job.folder`, and return its heads."""
    module = _module(job, device="cpu")
    module.load_trained(job.work / BEST)
    if job.held_out is not None:
        module.origin = {**module.origin, HELD_OUT: job.held_out}
    thresholds = {source.name: source.relevance_threshold for source in job.sources}
    return export_aligned(
        module, job.folder, overwrite=True, dtype=job.model.dtype, thresholds=thresholds, fusion=job.heads.fusion
    )


def _module(job: AlignmentJob, device: str) -> AlignmentModule:
    settings, heads = job.settings, job.heads
    backbone = load_backbone(replace(job.training_model, device=device), depth=job.depth)
    return AlignmentModule(
        backbone,
        heads.heads,
        weights=heads.weights,
        losses=settings.losses,
        prompt=heads.prompt,
        scorer=heads.scorer,
        pairs=settings.pairs,
        temperature=settings.temperature,
        trained=settings.trained,
        optimizer=settings.optimizer,
        max_layer=backbone.depth if settings.reselects else None,
        gradient_checkpointing=settings.trainer.gradient_checkpointing,
        seed=settings.seed,
        schedule_epochs=settings.epochs,
        origin={"criterion": heads.criterion, "query_ids": list(heads.query_ids), "seeds": list(heads.seeds)},
    )
