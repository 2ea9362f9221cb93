"""An alignment job: the plain data that each training process receives."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headrank.alignment.adapters import TrainedPart
from headrank.alignment.settings import AlignmentSettings
from headrank.data import DataSettings
from headrank.heads import Criterion, HeadsFile
from headrank.model import BackboneSettings


@dataclass(frozen=True, slots=True)
class AlignmentJob:
    """The inputs of one alignment: it trains a model for the heads in `heads` and exports it to `folder`.

    All processes must see the same paths.
    """

    model: BackboneSettings
    depth: int  # layers to load: heads are selected from these
    heads: HeadsFile
    sources: tuple[DataSettings, ...]
    settings: AlignmentSettings
    criterion: Criterion  # selects heads again during training
    work: Path  # the folder of checkpoints and `epochs.csv`
    folder: Path  # the folder of the aligned model
    cache: Path | None = None  # the cache folder; None: the user's
    fold: int | None = None  # of `settings.folds`, from 0: held out from training; None: all lists are trained on
    epochs: int | None = None  # train the first epochs of the schedule of `settings.epochs`; None: all of them
    # replaces the scores of the last validation, see `validation.held_out_scores`
    held_out: Sequence[tuple[Sequence[float], Sequence[int], int]] | None = None

    @property
    def training_model(self) -> BackboneSettings:
        """The model settings used for training, without compilation.

        The dtype is float32 if whole matrices are trained (`full`), because rounding would lose small steps; otherwise
        it is that of `model`.
        """
        dtype = "float32" if self.settings.trained.part == TrainedPart.FULL else self.model.dtype
        return replace(self.model, dtype=dtype, compile=False)
