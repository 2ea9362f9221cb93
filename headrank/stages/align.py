"""The align stage: trains a model for the selected heads and writes `checkpoint/`, the trained model with its heads.

The model in `checkpoint/` holds only the layers up to the deepest head. The work folder `training/` holds the
checkpoints from which a killed run resumes, and the epoch log `epochs.csv`.
"""

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrank.data.batches import check_shares
from headrank.data.labelled import split, split_fold, usable_lists
from headrank.data.mixture import Mixture
from headrank.data.settings import unjudged_ids
from headrank.experiment import Experiment, SystemSettings
from headrank.extras import require_extra
from headrank.heads import Criterion, EntropyRegularized, HeadsFile
from headrank.io.artifacts import RunFolder, artifact_key
from headrank.io.epoch_log import read_epoch_log
from headrank.io.files import atomic_write, finish_replacing
from headrank.io.launch import Launch
from headrank.model import BackboneSettings, count_layers
from headrank.stages.folds import cross_validate, fold_curve
from headrank.stages.key_fields import key_content
from headrank.stages.keys import ALIGNED, FORMAT, labelled_identity, model_identity, used_parts
from headrank.stages.lists import DataLoader, LabelledData

if TYPE_CHECKING:
    from headrank.alignment.distributed import ProcessGroup

logger = logging.getLogger(__name__)

CHECKPOINT, TRAINING = "checkpoint", "training"
EPOCH_LOG = f"{TRAINING}/epochs.csv"


def best_validation(folder: Path, folds: int = 0) -> float:
    """Return the best nDCG@10 on held-out queries, over the epochs of the alignment.

    folder: the run folder. folds: the number of folds of a cross-validation; above 0, it is the mean over them.

    Raises `ValueError` if an epoch log is missing or has no such value.
    """
    if folds:
        return max(fold_curve(folder, folds))
    path = folder / EPOCH_LOG
    values = [row["val/ndcg@10"] for row in read_epoch_log(path) if "val/ndcg@10" in row]
    if not values:
        raise ValueError(
            f"{path}: expected a column val/ndcg@10, found none; remove {folder / CHECKPOINT} to align again"
        )
    return max(values)


def align_key(experiment: Experiment, heads: HeadsFile, data: DataLoader) -> str:
    """Return the artifact key of `checkpoint/`: a hash of model, heads, labelled lists and alignment settings.

    Args:
        experiment: the experiment, with model and alignment settings.
        heads: the selected heads.
        data: loads the labelled lists.
    """
    # The data's depth decides which queries are used and held out; the deeper lists are what training draws from.
    sources = [data.labelled(experiment.train), training_candidates(experiment, data)]
    used = used_parts(heads.to_dict(), "heads", "prompt", "scorer", "criterion")
    counts = [one.lists_per_epoch for one in experiment.train]
    return artifact_key(
        "aligned",
        FORMAT,
        key_content(model_identity(experiment.model)),
        used,
        [labelled_identity(source) for source in sources],
        key_content(experiment.alignment),
        experiment.reading.max_layer,
        *([counts] if any(counts) else []),
        *([] if heads.fusion is None else [heads.fusion.to_dict()]),  # it decides whether the weight is fitted again
    )


def training_candidates(experiment: Experiment, data: DataLoader) -> LabelledData:
    """Load the labelled lists from which training draws candidates.

    Each has at least `alignment.draw_depth` candidates, unless the first stage found fewer.

    Args:
        experiment: the experiment, with alignment settings.
        data: loads the labelled lists.
    """
    return data.labelled([one.with_min_depth(experiment.alignment.draw_depth) for one in experiment.train])


class AlignStage:
    """Runs the align stage of an experiment.

    Create this object when the experiment starts. If torchrun or srun launched several processes, they form their
    process group here, and ranks above 0 wait in `join_alignment`.

    Args:
        experiment: the experiment, with alignment settings.
        folder: the run folder.
        data: loads the labelled lists.
        on_epoch: called after each epoch with all rows of the epoch log; None: nothing is called. It is not called if
            this stage starts several training processes itself.

    Raises `MissingExtraError` without the extra `train`, and `ValueError` if the trainer's devices do not exist.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        data: DataLoader,
        on_epoch: Callable[[Sequence[Mapping[str, float | int]]], None] | None = None,
    ) -> None:
        require_extra("train", "alignment")
        self.experiment, self.on_epoch = experiment, on_epoch
        self.folder = folder
        self.data = data
        experiment.alignment.trainer.check(Launch.from_environment())
        self._group = _process_group(experiment)
        finish_replacing(folder.path / CHECKPOINT)

    def check(self) -> None:
        """Load the labelled lists for training and check their number, before any work.

        Before the teacher has labelled a data set without judgements, nothing is checked.

        Raises `ConfigError` if no list is left to train on after the validation queries, if there are fewer lists than
        processes or folds, or if a data set with `lists_per_epoch` has no list, and the errors of loading data.
        """
        settings = self.experiment.alignment
        training_candidates(self.experiment, self.data)
        if any(one.label_source.teacher and not one.label_source.judged for one in self.experiment.train):
            return
        labelled, sources = self.data.labelled(self.experiment.train), self.experiment.train
        origin = dict(zip((one.item.query.id for one in labelled.lists), labelled.origins, strict=True))
        unjudged = unjudged_ids(origin, sources)
        share = {"fraction": settings.query_fraction, "seed": settings.seed, "unjudged": unjudged}
        lists = usable_lists(labelled.lists)
        splits = [split(lists, validation=settings.validation_queries, **share)]
        splits += [split_fold(lists, fold=fold, folds=settings.folds, **share) for fold in range(settings.folds)]
        for training, validation in splits:
            mixture = Mixture.of(sources, [origin[one.item.query.id] for one in training])
            check_shares(mixture.size, len(validation), settings.trainer.processes)

    def run(self, heads: HeadsFile, system: SystemSettings) -> tuple[HeadsFile, BackboneSettings, dict[str, Any]]:
        """Align the model, or reuse `checkpoint/` if it has the same key.

        Args:
            heads: the selected heads.
            system: the main system, whose criterion selects heads again during training.

        Returns:
            The heads after alignment, the settings that load the aligned model, and the identity of that model, which
            is part of the keys of artifacts that are computed with it.

        Raises:
            ArtifactError: the checkpoint or the epoch log was edited or is damaged.
        """
        name = f"{CHECKPOINT}/heads.json"
        key = align_key(self.experiment, heads, self.data)
        if any((self.folder.path / CHECKPOINT).glob("*.safetensors")):
            self.folder.check(name, key)  # training takes hours: an edit raises instead of starting it again
        else:
            (self.folder.path / name).unlink(missing_ok=True)  # heads without their model
        written = self.folder.make(
            name, key, lambda path: self._align(heads, system, key, path.parent), parts=[CHECKPOINT]
        )
        if written:
            self.folder.record(EPOCH_LOG, key)
        elif (self.folder.path / EPOCH_LOG).is_file():
            self.folder.check(EPOCH_LOG, key)
        if not written and self._group is not None:
            self._group.broadcast_job(None)
            self._group.destroy()
        for file in (self.folder.path / TRAINING).glob("*.ckpt*"):  # large, and useless once the model is exported
            _remove(file)
        logger.info("align: %s %s", name, "written" if written else "reused")
        path = self.folder.path / CHECKPOINT
        settings = replace(
            self.experiment.model, model=str(path), revision=None, random_weights=False, overrides=None, family=None
        )
        return HeadsFile.load(path / "heads.json"), settings, {ALIGNED: key}

    def epochs(self) -> list[dict[str, float | int]]:
        """Return the rows of the epoch log, see `read_epoch_log`. Without a log the result is empty."""
        return read_epoch_log(self.folder.path / EPOCH_LOG)

    def _align(self, heads: HeadsFile, system: SystemSettings, key: str, checkpoint: Path) -> None:
        # imported here: Lightning takes seconds to import and belongs to the extra `train`
        from headrank.alignment.checkpoint_files import prepare_restart
        from headrank.alignment.job import AlignmentJob
        from headrank.alignment.training import align, fit

        e = self.experiment
        work = self.folder.path / TRAINING
        marker = work / "key.json"
        if _key(marker) != key:
            if work.exists():
                shutil.rmtree(work)  # written by an alignment with another key
            with atomic_write(marker) as file:
                json.dump({"key": key}, file)
        prepare_restart(work)
        layers, _ = count_layers(e.model)
        job = AlignmentJob(
            model=e.model,
            depth=min(layers, e.reading.max_layer or layers) if e.alignment.reselects else heads.depth,
            heads=heads,
            sources=e.train,
            settings=e.alignment,
            criterion=_criterion(system, heads),
            work=work,
            folder=checkpoint,
            cache=e.cache,
        )
        if e.alignment.folds:
            job = cross_validate(self.folder, job, key, lambda fold_job: fit(fold_job, self._group))
        align(job, self._group, self.on_epoch)


def join_alignment(experiment: Experiment) -> None:
    """Take part in alignment as a rank above 0 that torchrun or srun launched.

    The process joins the process group and trains each job that rank 0 sends, until there is none.

    Raises `ValueError` if the trainer's devices do not exist, and `RuntimeError` if rank 0 has died.
    """
    from headrank.alignment.training import train

    experiment.alignment.trainer.check(Launch.from_environment())
    group = _process_group(experiment)
    assert group is not None
    while (job := group.broadcast_job()) is not None:  # each fold, then the training on all queries
        train(job)
    group.destroy()


def _key(marker: Path) -> str | None:
    """The alignment key that a work folder's marker holds; None if the marker cannot be read."""
    try:
        return str(json.loads(marker.read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove(checkpoint: Path) -> None:
    if checkpoint.is_dir():  # a sharded checkpoint
        shutil.rmtree(checkpoint)
    else:
        checkpoint.unlink()


def _process_group(experiment: Experiment) -> "ProcessGroup | None":
    launch = Launch.from_environment()
    if launch.world_size == 1:
        return None
    from headrank.alignment.distributed import ProcessGroup

    return ProcessGroup(experiment.alignment.trainer, launch)


def _criterion(system: SystemSettings, heads: HeadsFile) -> Criterion:
    """The criterion that chose the heads, with the cross-validated entropy weight if the weight was `auto`."""
    if system.entropy_weight == "auto" and isinstance(system.criterion, EntropyRegularized):
        return replace(system.criterion, weight=heads.criterion["parameters"]["weight"])
    return system.criterion
