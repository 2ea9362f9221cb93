"""What an alignment is, in plain data: the losses, the pairs, what is trained, on which lists, for how long.

`run.py` makes one of these from `conf/alignment` and `conf/loss`; `fit.py` carries it out. The defaults are ours.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

import torch

from headrank.alignment.adapters import MATRICES, TrainedPart
from headrank.alignment.losses import Loss, WeightedLosses
from headrank.alignment.pairs import PairSettings
from headrank.io.launch import Launch
from headrank.settings import Ge, Gt, Le, Listed, SettingsError, one_of, settings, wrong

ACCELERATORS = ("auto", "cpu", "gpu")
STRATEGIES = ("auto", "ddp", "fsdp")
PRECISIONS = ("32-true", "bf16-mixed")  # bf16-true would take the adapters' fp32 from them


@settings
class TrainerSettings:
    """How Lightning's Trainer runs: the machine, not the method.

    Several processes, one for each device, train on a step's lists together; see `processes.py`.
    """

    accelerator: Annotated[str, one_of(ACCELERATORS)] = "auto"  # auto | cpu | gpu
    devices: Annotated[int, Ge(1)] = 1  # of each machine; on the CPU the number of processes
    num_nodes: Annotated[int, Ge(1)] = 1  # machines; more than one have to be started by torchrun or srun
    # auto: ddp for several devices | ddp: each holds the whole model | fsdp: each holds a share
    strategy: Annotated[str, one_of(STRATEGIES)] = "auto"
    precision: Annotated[str, one_of(PRECISIONS)] = "32-true"  # 32-true | bf16-mixed
    gradient_checkpointing: bool = False  # compute activations again in the backward pass: less memory, more time
    progress_bar: bool = True

    def __post_init__(self) -> None:
        if self.strategy != "auto" and self.processes == 1:
            raise wrong("strategy", self.strategy, "auto, or devices above 1")

    @property
    def processes(self) -> int:
        """Processes that train together, on all machines."""
        return self.devices * self.num_nodes

    def check(self, launch: Launch) -> None:
        """Raise `ValueError` if this machine lacks the devices, or another number of processes was started."""
        gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
        if self.accelerator == "gpu" and not gpus:
            raise ValueError("trainer.accelerator is gpu, and PyTorch finds no GPU on this machine")
        if self.accelerator != "cpu" and 0 < gpus < self.devices:
            raise ValueError(f"trainer.devices is {self.devices}, and this machine has {gpus}")
        if launch.launcher and launch.world_size != self.processes:
            raise ValueError(
                f"{launch.launcher} started {launch.world_size} processes, and trainer.devices {self.devices} times "
                f"trainer.num_nodes {self.num_nodes} is {self.processes}: expected the same"
            )
        if self.num_nodes > 1 and not launch.launcher:
            raise ValueError(
                f"trainer.num_nodes is {self.num_nodes}: start one process for each device with torchrun or srun"
            )


@settings
class LossTerm:
    """A loss and its weight in the sum."""

    weight: Annotated[float, Ge(0)]
    loss: Loss


@settings
class AlignmentSettings:
    """One alignment, start to end."""

    losses: WeightedLosses
    pairs: PairSettings = field(default_factory=PairSettings)
    temperature: Annotated[float, Gt(0)] = 2.0  # what z is multiplied by before the losses see it
    part: Annotated[str, one_of(TrainedPart)] = "lora"  # lora | full | head_weights
    matrices: Listed[Annotated[str, one_of(MATRICES)]] = tuple(MATRICES)  # trained in each layer, by lora or in full
    rank: Annotated[int, Ge(1)] = 16  # of LoRA adapters
    lora_alpha: Annotated[float, Gt(0)] = 32.0  # an adapter's product is scaled by lora_alpha / rank
    lr: Annotated[float, Gt(0)] = 2e-4  # at its highest
    weight_decay: Annotated[float, Ge(0)] = 0.0
    warmup_fraction: Annotated[float, Ge(0), Le(1)] = 0.1  # of all steps
    epochs: Annotated[int, Ge(1)] = 5
    # between two optimizer steps, of all devices together; 0: a batch on each device
    lists_per_step: Annotated[int, Ge(0)] = 0
    lists_per_batch: Annotated[int, Ge(1)] = 1  # lists in one forward pass, on each device
    clip: Annotated[float, Gt(0)] = 1.0  # the gradient's norm
    validation_queries: Annotated[int, Ge(0)] = 10  # held out; 0: none, the last epoch is kept
    # epochs without a better validation nDCG@10 after which training ends; 0: never early
    patience: Annotated[int, Ge(0)] = 0
    shuffle_candidates: bool = True
    # candidates of a query that an epoch trains on, drawn anew each time; 0: the whole list
    draw_candidates: Annotated[int, Ge(0)] = 20
    # the cutoff of the first stage that they are drawn from, unless the data's own depth is more; 0: that depth
    draw_depth: Annotated[int, Ge(0)] = 100
    query_fraction: Annotated[float, Gt(0), Le(1)] = 1.0  # share of the training queries
    reselect_every: Annotated[int, Ge(0)] = 1  # epochs between selections of heads; 0: at the end alone
    reselect: bool = True  # False: the heads stay those that training began with
    reselect_seeds: Listed[int] = (0,)  # shuffled context orders read for a selection
    seed: int = 0
    trainer: TrainerSettings = field(default_factory=TrainerSettings)

    def __post_init__(self) -> None:
        if not self.matrices or len(set(self.matrices)) != len(self.matrices):
            raise wrong("matrices", list(self.matrices), "at least one and none twice")
        if self.draw_candidates == 1:
            raise wrong("draw_candidates", 1, "0 for all, or at least 2: a pair")
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
        if self.patience and not self.validation_queries:
            raise wrong("patience", self.patience, "0, or validation_queries above 0")
        if self.trainer.strategy == "fsdp" and self.part == "head_weights":
            raise wrong("part", self.part, "another part, or trainer.strategy ddp: there is nothing to shard")
        if self.trainer.strategy == "fsdp" and self.part == "full" and self.losses.needs_reference:
            expected = "lora, trainer.strategy ddp, or a loss without a reference: sharded matrices have no second copy"
            raise wrong("part", self.part, expected)

    @property
    def reselects(self) -> bool:
        """Whether heads are selected again: not where head weights are trained, which belong to their heads."""
        return self.reselect and self.part != "head_weights"

    @classmethod
    def from_terms(cls, terms: Mapping[str, Mapping[str, Any]], **options: Any) -> "AlignmentSettings":
        """With the losses as `conf/loss` writes them: name -> {"weight": ..., "loss": ...}, or null for none."""
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
