"""One alignment with everything it needs, in plain data: what is handed to each process that takes part in it."""

from dataclasses import dataclass, replace
from pathlib import Path

from headrank.alignment.settings import AlignmentSettings
from headrank.data import DataSettings
from headrank.heads import Criterion, HeadsFile
from headrank.model import BackboneSettings


@dataclass(frozen=True, slots=True)
class AlignmentJob:
    """Train a model from `heads` on, and export it. Paths have to be the same for all processes."""

    model: BackboneSettings
    depth: int  # layers to load: those that heads may be selected from
    heads: HeadsFile
    sources: tuple[DataSettings, ...]
    settings: AlignmentSettings
    criterion: Criterion  # by which heads are selected again
    work: Path  # where checkpoints and `epochs.csv` go
    folder: Path  # where the aligned model goes
    cache: Path | None = None  # of BM25 indexes; None: the user's cache folder

    @property
    def training_model(self) -> BackboneSettings:
        """The model as it is trained: in float32 where its own weights are, since small steps would be rounded away."""
        dtype = "float32" if self.settings.part == "full" else self.model.dtype
        return replace(self.model, dtype=dtype, compile=False)
