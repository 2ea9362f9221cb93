"""The settings of an alignment: losses, pairs, trained parameters, lists and duration.

`configuration.py` builds them from `conf/alignment`, `conf/loss` and `conf/trainer`; `training.py` uses them. The
defaults are ours.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

import torch

from headrank.alignment.adapters import TrainedPart, TrainedSettings
from headrank.alignment.losses import Loss, WeightedLosses
from headrank.alignment.optimizer import OptimizerSettings
from headrank.alignment.pairs import PairSettings
from headrank.io.launch import Launch
from headrank.settings import Ge, Gt, Le, Listed, Lt, SettingsError, one_of, settings, wrong

ACCELERATORS = ("auto", "cpu", "gpu")
STRATEGIES = ("auto", "ddp", "fsdp")
PRECISIONS = ("32-true", "bf16-mixed")  # not bf16-true, which would cast the fp32 adapters


@settings
class TrainerSettings:
    """The devices, processes and precision of Lightning's Trainer.

    With several processes, one per device, each reads a share of the lists of a step; see `distributed.py`.
    """

    accelerator: Annotated[str, one_of(ACCELERATORS)] = "auto"  # auto | cpu | gpu
    devices: Annotated[int, Ge(1)] = 1  # per machine; on the CPU the number of processes
    num_nodes: Annotated[int, Ge(1)] = 1  # machines; several need torchrun or srun
    # auto: ddp for several devices | ddp: each device holds the whole model | fsdp: each holds a shard
    strategy: Annotated[str, one_of(STRATEGIES)] = "auto"
    precision: Annotated[str, one_of(PRECISIONS)] = "32-true"  # 32-true | bf16-mixed
    gradient_checkpointing: bool = False  # recompute activations in the backward pass: less memory, more time
    progress_bar: bool = True

    def __post_init__(self) -> None:
        if self.strategy != "auto" and self.processes == 1:
            raise wrong("strategy", self.strategy, "auto, or devices above 1")

    @property
    def processes(self) -> int:
        """The world size: the number of training processes on all machines."""
        return self.devices * self.num_nodes

    def check(self, launch: Launch) -> None:
        """Check that this machine has the devices and that the launcher started the expected number of processes.

        Args:
            launch: how this process was launched.

        Raises:
            ValueError: devices or processes are missing, or several machines are configured without torchrun or srun.
        """
        gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
        if self.accelerator == "gpu" and not gpus:
            raise ValueError("trainer.accelerator is gpu, but PyTorch finds no GPU on this machine; set cpu or auto")
        if self.accelerator != "cpu" and 0 < gpus < self.devices:
            raise ValueError(f"trainer.devices is {self.devices}, expected at most {gpus}, the GPUs of this machine")
        if launch.launcher and launch.world_size != self.processes:
            raise ValueError(
                f"{launch.launcher} started {launch.world_size} processes, but trainer.devices {self.devices} times "
                f"trainer.num_nodes {self.num_nodes} is {self.processes}; make them equal"
            )
        if self.num_nodes > 1 and not launch.launcher:
            raise ValueError(
                f"trainer.num_nodes is {self.num_nodes}: start one process per device with torchrun or srun"
            )


@settings
class LossTerm:
    """One loss and its weight in the sum of losses."""

    weight: Annotated[float, Ge(0)]
    loss: Loss


@settings
class AlignmentSettings:
    """All settings of an alignment."""

    losses: WeightedLosses
    pairs: PairSettings = field(default_factory=PairSettings)
    temperature: Annotated[float, Gt(0)] = 2.0  # factor of z in pairs and losses
    trained: TrainedSettings = field(default_factory=TrainedSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    epochs: Annotated[int, Ge(1)] = 5
    # lists per optimizer step, over all devices; 0: one batch per device
    lists_per_step: Annotated[int, Ge(0)] = 0
    lists_per_batch: Annotated[int, Ge(1)] = 1  # lists per forward pass, on each device
    validation_queries: Annotated[int, Ge(0)] = 10  # held-out queries; 0: none, and the last epoch is exported
    # cross-validation chooses the number of epochs, up to `epochs`; then all queries are trained on; 0: none
    folds: Annotated[int, Ge(0)] = 0
    # epochs without a better validation nDCG@10 before training stops early; 0: never
    patience: Annotated[int, Ge(0)] = 0
    # decay per optimizer step of the moving average of the trained weights that is validated and exported; 0: none
    average_decay: Annotated[float, Ge(0), Lt(1)] = 0.0
    shuffle_candidates: bool = True
    # share of the shuffled training lists whose passages of the highest grade are moved to the middle of the context
    relevant_in_zone: Annotated[float, Ge(0), Le(1)] = 0.0
    # candidates per query, drawn again each epoch; 0: the whole list
    draw_candidates: Annotated[int, Ge(0)] = 20
    # first-stage cutoff from which they are drawn, if it exceeds the data's depth; 0: the data's depth
    draw_depth: Annotated[int, Ge(0)] = 100
    query_fraction: Annotated[float, Gt(0), Le(1)] = 1.0  # share of the training queries
    reselect_every: Annotated[int, Ge(0)] = 1  # epochs between selections of heads; 0: only at the end
    reselect: bool = True  # False: keep the heads that training began with
    reselect_seeds: Listed[int] = (0,)  # seeds of the shuffled context orders of a selection
    seed: int = 0
    trainer: TrainerSettings = field(default_factory=TrainerSettings)

    def __post_init__(self) -> None:
        if self.draw_candidates == 1:
            raise wrong("draw_candidates", 1, "0 for all, or at least 2: a pair")
        if self.relevant_in_zone and not self.shuffle_candidates:
            raise wrong("relevant_in_zone", self.relevant_in_zone, "0, or shuffle_candidates: true")
        if (self.reselect and not self.reselect_seeds) or len(set(self.reselect_seeds)) != len(self.reselect_seeds):
            raise wrong("reselect_seeds", list(self.reselect_seeds), "at least one seed and none twice")
        if not self.draw_candidates:
            object.__setattr__(self, "draw_depth", 0)
        together = self.lists_per_batch * self.trainer.processes
        if not self.lists_per_step:
            object.__setattr__(self, "lists_per_step", together)
        if self.lists_per_step % together:
            expected = f"a multiple of lists_per_batch ({self.lists_per_batch}) times the trainer's devices "
            raise wrong("lists_per_step", self.lists_per_step, f"{expected}({self.trainer.processes})")
        if self.folds == 1:
            raise wrong("folds", 1, "0 for no cross-validation, or at least 2")
        if self.folds and self.reselects and self.reselect_every != 1:
            raise wrong(
                "reselect_every", self.reselect_every, "1 with folds, whose epochs are compared, or reselect: false"
            )
        if self.folds and self.validation_queries:
            raise wrong("validation_queries", self.validation_queries, "0 with folds, which hold out every query once")
        if self.patience and not self.validation_queries:
            raise wrong("patience", self.patience, "0, or validation_queries above 0")
        part, sharded = self.trained.part, self.trainer.strategy == "fsdp"
        if sharded and self.average_decay:
            raise wrong("average_decay", self.average_decay, "0, or trainer.strategy ddp: shards are not averaged")
        if sharded and part == TrainedPart.HEAD_WEIGHTS:
            raise wrong("trained.part", part, "another part, or trainer.strategy ddp: no trained matrix to shard")
        if sharded and part == TrainedPart.FULL and self.losses.needs_reference:
            expected = "lora, trainer.strategy ddp, or a loss without a reference: sharded matrices have no second copy"
            raise wrong("trained.part", part, expected)

    @property
    def reselects(self) -> bool:
        """Whether heads are selected again during training.

        This is `reselect`, but False if head weights are trained, because each weight belongs to one head.
        """
        return self.reselect and self.trained.part != TrainedPart.HEAD_WEIGHTS

    @classmethod
    def from_terms(cls, terms: Mapping[str, Mapping[str, Any]], **options: Any) -> "AlignmentSettings":
        """Create settings from losses in the format of `conf/loss`.

        Args:
            terms: name -> {"weight": ..., "loss": ...}. An entry of None is left out.
            options: the other fields of this class.

        Raises:
            SettingsError: a value is wrong; the message names its key.
        """
        losses = {}
        for name, values in terms.items():
            if values is None:
                continue
            if not isinstance(values, Mapping):
                raise wrong(name, values, "weight and loss").under("loss")
            try:
                term = LossTerm(**values)
            except SettingsError as error:
                raise error.under(f"loss.{name}") from None
            losses[name] = (term.weight, term.loss)
        return cls(WeightedLosses(losses), **options)
