"""What an alignment is, in plain data: the losses, the pairs, what is trained, on which lists, for how long.

`run.py` makes one of these from `conf/alignment` and `conf/loss`; `fit.py` carries it out. The defaults are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from headrank.alignment.adapters import MATRICES
from headrank.alignment.losses import WeightedLosses
from headrank.alignment.pairs import PairSettings
from headrank.started import Started

ACCELERATORS = ("auto", "cpu", "gpu")
STRATEGIES = ("auto", "ddp", "fsdp")
PRECISIONS = ("32-true", "bf16-mixed")  # bf16-true would take the adapters' fp32 from them


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """How Lightning's Trainer runs: the machine, not the method. Raises `ValueError` for values without a meaning.

    Several processes, one for each device, train on a step's lists together; see `processes.py`.
    """

    accelerator: str = "auto"  # auto | cpu | gpu
    devices: int = 1  # of each machine; on the processor so many processes
    num_nodes: int = 1  # machines; more than one have to be started by torchrun or srun
    strategy: str = "auto"  # auto: ddp for several devices | ddp: each holds the whole model | fsdp: each holds a share
    precision: str = "32-true"  # 32-true | bf16-mixed
    gradient_checkpointing: bool = False  # compute activations again in the backward pass: less memory, more time
    progress_bar: bool = True

    def __post_init__(self) -> None:
        for name, known in (("accelerator", ACCELERATORS), ("strategy", STRATEGIES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"trainer.{name} is {getattr(self, name)!r}, wanted one of {', '.join(known)}")
        for name in ("devices", "num_nodes"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"trainer.{name} is {value!r}, wanted a number, at least 1")
        if self.strategy != "auto" and self.processes == 1:
            raise ValueError(
                f"trainer.strategy is {self.strategy} and there is one device: wanted trainer.devices above 1, or auto"
            )

    @property
    def processes(self) -> int:
        """Processes that train together, on all machines."""
        return self.devices * self.num_nodes

    def check(self, started: Started) -> None:
        """Raise `ValueError` where this machine has not what is asked for, or other processes were started."""
        gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
        if self.accelerator == "gpu" and not gpus:
            raise ValueError("trainer.accelerator is gpu, and PyTorch finds no GPU on this machine")
        if self.accelerator != "cpu" and 0 < gpus < self.devices:
            raise ValueError(f"trainer.devices is {self.devices}, and this machine has {gpus}")
        if started.by and started.count != self.processes:
            raise ValueError(
                f"{started.by} started {started.count} processes, and trainer.devices {self.devices} times "
                f"trainer.num_nodes {self.num_nodes} is {self.processes}: wanted the same"
            )
        if self.num_nodes > 1 and not started.by:
            raise ValueError(
                f"trainer.num_nodes is {self.num_nodes}: start one process for each device with torchrun or srun"
            )


@dataclass(frozen=True, slots=True)
class AlignmentSettings:
    """One alignment, start to end. Raises `ValueError` for values without a meaning."""

    losses: WeightedLosses
    pairs: PairSettings = field(default_factory=PairSettings)
    temperature: float = 2.0  # what z is multiplied by before the losses see it
    part: str = "lora"  # lora | full | head_weights
    matrices: tuple[str, ...] | list[str] = tuple(MATRICES)  # trained in each layer, by lora or in full
    rank: int = 16  # of LoRA adapters
    lora_alpha: float = 32.0  # an adapter's product is scaled by lora_alpha / rank
    lr: float = 2e-4  # at its highest
    weight_decay: float = 0.0
    warmup_fraction: float = 0.1  # of all steps
    epochs: int = 5
    lists_per_step: int = 0  # between two optimizer steps, of all devices together; 0: a batch on each device
    lists_per_batch: int = 1  # lists in one forward pass, on each device
    clip: float = 1.0  # the gradient's norm
    validation_queries: int = 10  # held out; 0: none, the last epoch is kept
    patience: int = 0  # epochs without a better validation nDCG@10 after which training ends; 0: never early
    shuffle_candidates: bool = True
    draw_candidates: int = 20  # candidates of a query that an epoch trains on, drawn anew each time; 0: the whole list
    draw_depth: int = 100  # out of so many of the first stage's best, where the data's own depth is less; 0: never
    query_fraction: float = 1.0  # share of the training queries
    reselect_every: int = 1  # epochs between selections of heads; 0: at the end alone
    reselect: bool = True  # False: the heads stay those that training began with
    reselect_seeds: tuple[int, ...] | list[int] = (0,)  # shuffled context orders read for a selection
    seed: int = 0
    trainer: TrainerSettings = field(default_factory=TrainerSettings)

    def __post_init__(self) -> None:
        if self.part not in ("lora", "full", "head_weights"):
            raise ValueError(f"alignment.part is {self.part!r}, wanted lora, full or head_weights")
        for name in ("temperature", "lr", "rank", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"alignment.{name} is {getattr(self, name)}, wanted above 0")
        if not 0 < self.query_fraction <= 1:
            raise ValueError(f"alignment.query_fraction is {self.query_fraction}, wanted above 0 and at most 1")
        if self.draw_candidates and self.draw_candidates < 2:
            raise ValueError(
                f"alignment.draw_candidates is {self.draw_candidates}, wanted 0 for all, or at least 2 for a pair"
            )
        if self.draw_depth < 0:
            raise ValueError(f"alignment.draw_depth is {self.draw_depth}, wanted 0 (the data's depth) or more")
        if self.reselect and not self.reselect_seeds:
            raise ValueError("alignment.reselect_seeds is empty, wanted at least one seed")
        if self.epochs < 1:
            raise ValueError(f"alignment.epochs is {self.epochs}, wanted at least 1")
        if not self.draw_candidates:
            object.__setattr__(self, "draw_depth", 0)
        together = self.lists_per_batch * self.trainer.processes
        if not self.lists_per_step:
            object.__setattr__(self, "lists_per_step", together)
        if self.lists_per_batch < 1 or self.lists_per_step < 1 or self.lists_per_step % together:
            raise ValueError(
                f"alignment.lists_per_step is {self.lists_per_step}, wanted a multiple of lists_per_batch "
                f"({self.lists_per_batch}) times the trainer's devices ({self.trainer.processes})"
            )
        if self.patience and not self.validation_queries:
            raise ValueError("alignment.patience needs validation_queries above 0")
        if self.trainer.strategy == "fsdp" and self.part == "head_weights":
            raise ValueError("trainer.strategy fsdp with alignment.part head_weights: nothing is sharded, use ddp")
        if self.trainer.strategy == "fsdp" and self.part == "full" and self.losses.needs_reference:
            raise ValueError(
                "trainer.strategy fsdp with alignment.part full and a loss anchored on the start model: no second copy "
                "of sharded matrices is kept. Use alignment=lora, trainer.strategy=ddp, or a loss without a reference"
            )

    @property
    def reselects(self) -> bool:
        """Whether heads are selected again: not where head weights are trained, which belong to their heads."""
        return self.reselect and self.part != "head_weights"

    @classmethod
    def from_terms(cls, terms: Mapping[str, Mapping[str, Any]], **options: Any) -> "AlignmentSettings":
        """With the losses as `conf/loss` writes them: name -> {"weight": ..., "loss": ...}."""
        losses = WeightedLosses({name: (float(term["weight"]), term["loss"]) for name, term in terms.items() if term})
        return cls(losses, **options)
