"""What an alignment is, in plain data: the losses, the pairs, what is trained, on which lists, for how long.

`run.py` makes one of these from `conf/alignment` and `conf/loss`; `fit.py` carries it out. The defaults are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrank.alignment.adapters import MATRICES
from headrank.alignment.losses import WeightedLosses
from headrank.alignment.pairs import PairSettings


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """How Lightning's Trainer runs: the machine, not the method. One process, one device: what the pipeline does around
    training is not shared among processes. For several, see `AlignmentModule` with a Trainer of your own."""

    accelerator: str = "auto"  # auto | cpu | gpu
    precision: str = "32-true"  # 32-true | bf16-mixed
    progress_bar: bool = True


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
    lists_per_step: int = 1  # lists between two optimizer steps, on one device
    lists_per_batch: int = 1  # lists in one forward pass
    clip: float = 1.0  # the gradient's norm
    validation_queries: int = 10  # held out; 0: none, the last epoch is kept
    patience: int = 0  # epochs without a better validation nDCG@10 after which training ends; 0: never early
    shuffle_candidates: bool = True
    query_fraction: float = 1.0  # share of the training queries
    reselect_every: int = 1  # epochs between selections of heads; 0: at the end alone
    reselect: bool = True  # False: the heads stay those that training began with
    reselect_seeds: tuple[int, ...] | list[int] = (0,)  # shuffled context orders read for a selection
    gradient_checkpointing: bool = False
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
        if self.reselect and not self.reselect_seeds:
            raise ValueError("alignment.reselect_seeds is empty, wanted at least one seed")
        if self.epochs < 1:
            raise ValueError(f"alignment.epochs is {self.epochs}, wanted at least 1")
        if self.lists_per_batch < 1 or self.lists_per_step % self.lists_per_batch or self.lists_per_step < 1:
            raise ValueError(
                f"alignment.lists_per_step is {self.lists_per_step}, wanted a multiple of lists_per_batch "
                f"({self.lists_per_batch})"
            )
        if self.patience and not self.validation_queries:
            raise ValueError("alignment.patience needs validation_queries above 0")

    @classmethod
    def from_terms(cls, terms: Mapping[str, Mapping[str, Any]], **options: Any) -> "AlignmentSettings":
        """With the losses as `conf/loss` writes them: name -> {"weight": ..., "loss": ...}."""
        losses = WeightedLosses({name: (float(term["weight"]), term["loss"]) for name, term in terms.items() if term})
        return cls(losses, **options)
