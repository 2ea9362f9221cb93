"""Carry out an alignment: data, module, Lightning's trainer, the best checkpoint, the exported folder.

    align(backbone, heads, sources, settings, work=Path("outputs/x/training"), folder=Path("outputs/x/checkpoint"))

A killed run is taken up from its last epoch where it is started again with the same work folder.
"""

import csv
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from headrank.alignment.adapters import TrainedSettings
from headrank.alignment.callbacks import ReselectHeads
from headrank.alignment.export import export_aligned
from headrank.alignment.module import AlignmentModule
from headrank.alignment.optimizer import OptimizerSettings
from headrank.alignment.record import read_record
from headrank.alignment.settings import AlignmentSettings
from headrank.data.datamodule import ListwiseDataModule, TrainingSource
from headrank.files import atomic_write
from headrank.heads import Criterion, HeadsFile
from headrank.model import Backbone

logger = logging.getLogger(__name__)

MONITOR = "val/ndcg@10"

EpochObserver = Callable[[Sequence[Mapping[str, float | int]]], None]
"""Called after each epoch, in one process, with the rows of the epoch record up to it."""


class EpochRecord(Callback):
    """Appends what was logged to a CSV after every epoch; a resumed run goes on after the epochs it keeps."""

    def __init__(self, path: Path, observe: EpochObserver | None = None) -> None:
        super().__init__()
        self.path, self.observe = path, observe

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write one row an epoch."""
        if not trainer.is_global_zero:
            return
        values = {
            k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(("train/", "val/", "heads/"))
        }
        rows = [row for row in read_record(self.path) if row["epoch"] < trainer.current_epoch]
        rows.append({"epoch": trainer.current_epoch, **values})
        names = list(dict.fromkeys(name for row in rows for name in row))
        with atomic_write(self.path) as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        if self.observe is not None:
            self.observe(rows)


def align(
    backbone: Backbone,
    heads: HeadsFile,
    sources: Sequence[TrainingSource],
    settings: AlignmentSettings,
    *,
    criterion: Criterion,
    relevance_threshold: int,
    work: Path,
    folder: Path,
    cache: Path | None = None,
    on_epoch: EpochObserver | None = None,
) -> HeadsFile:
    """Train `backbone` (changed in place) from `heads` on, export the best epoch to `folder`, return its heads.

    criterion: by which heads are selected again. work: where checkpoints and `epochs.csv` go. on_epoch: sees each
    epoch's values as they come. Raises what module, data and export raise, before any step where the input is at fault.
    """
    seed_everything(settings.seed, workers=True, verbose=False)
    data = ListwiseDataModule(
        sources,
        validation_queries=settings.validation_queries,
        lists_per_batch=settings.lists_per_batch,
        shuffle_candidates=settings.shuffle_candidates,
        query_fraction=settings.query_fraction,
        seed=settings.seed,
        cache_dir=cache,
    )
    reselect = settings.reselect and settings.part != "head_weights"
    module = AlignmentModule(
        backbone,
        heads.heads,
        weights=heads.weights,
        losses=settings.losses,
        prompt=heads.prompt,
        scorer=heads.scorer,
        pairs=settings.pairs,
        temperature=settings.temperature,
        trained=TrainedSettings(
            settings.part, tuple(settings.matrices), settings.rank, settings.lora_alpha, settings.seed
        ),
        optimizer=OptimizerSettings(
            lr=settings.lr, weight_decay=settings.weight_decay, warmup_fraction=settings.warmup_fraction
        ),
        max_layer=backbone.depth if reselect else None,
        gradient_checkpointing=settings.gradient_checkpointing,
        relevance_threshold=relevance_threshold,
        seed=settings.seed,
        origin={"criterion": heads.criterion, "query_ids": list(heads.query_ids), "seeds": list(heads.seeds)},
    )
    monitored = settings.validation_queries > 0
    best = ModelCheckpoint(
        work, "best", monitor=MONITOR if monitored else None, mode="max", enable_version_counter=False
    )
    # Of its own: beside a monitor, `save_last` would write only where the monitored value improves.
    latest = ModelCheckpoint(work, "last", enable_version_counter=False)
    callbacks: list[Callback] = [EpochRecord(work / "epochs.csv", on_epoch), best, latest]
    if reselect:
        callbacks.insert(
            0,
            ReselectHeads(
                criterion,
                reselect_every=settings.reselect_every,
                count=len(heads.heads),
                seeds=settings.reselect_seeds,
            ),
        )
    if settings.patience:
        callbacks.append(EarlyStopping(MONITOR, mode="max", patience=settings.patience))
    machine = settings.trainer
    trainer = Trainer(
        accelerator=machine.accelerator,
        devices=1,
        precision=machine.precision,  # type: ignore[arg-type]
        enable_progress_bar=machine.progress_bar,
        max_epochs=settings.epochs,
        accumulate_grad_batches=settings.lists_per_step // settings.lists_per_batch,
        gradient_clip_val=settings.clip,
        callbacks=callbacks,
        logger=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if monitored else 0,
    )
    last = work / "last.ckpt"
    if last.is_file():
        logger.info("align: going on from %s", last)
    with warnings.catch_warnings():
        # Lightning warns of a folder with checkpoints in it: a killed run is taken up from exactly there.
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty", UserWarning)
        trainer.fit(module, datamodule=data, ckpt_path=str(last) if last.is_file() else None)
    logger.info("align: best %s %s", MONITOR, best.best_model_score)
    if best.best_model_path:
        module.load_trained(Path(best.best_model_path))
    return export_aligned(module, folder, overwrite=True)
