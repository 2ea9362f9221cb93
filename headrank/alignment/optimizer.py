"""The optimizer of alignment: AdamW with a linear warm-up and a cosine decay, as plain settings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101). The defaults are ours. Raises `ValueError` for values without a
    meaning."""

    lr: float = 2e-4  # at its highest
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_fraction: float = 0.1  # of all steps, over which the rate rises from 0
    cosine: bool = True  # False: the rate stays at its highest after the warm-up

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf or not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"optimizer.lr {self.lr}, weight_decay {self.weight_decay}: wanted above 0, and 0 or more")
        if not 0 <= self.warmup_fraction <= 1:
            raise ValueError(f"optimizer.warmup_fraction is {self.warmup_fraction}, wanted a share from 0 to 1")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"optimizer.betas are {self.betas}, wanted two numbers, 0 or more and below 1")


def make_optimizer(
    parameters: Sequence[nn.Parameter], settings: OptimizerSettings, steps: int | float
) -> tuple[AdamW, LambdaLR]:
    """AdamW and a schedule by step. Vectors (head weights) are not decayed.

    Raises `ValueError` without a trainable parameter, and where the number of steps is not known.
    """
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if not trainable:
        raise ValueError("alignment has no trainable parameter: was the module frozen after it was made?")
    if not 0 < steps < math.inf:
        raise ValueError(
            f"{steps} training steps: the schedule needs a number, set the trainer's max_epochs or max_steps"
        )
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    first, second = settings.betas
    optimizer = AdamW([g for g in groups if g["params"]], lr=settings.lr, betas=(first, second))
    return optimizer, LambdaLR(optimizer, lambda step: rate(step, int(steps), settings))


def rate(step: int, steps: int, settings: OptimizerSettings) -> float:
    """The share of the highest rate that step `step` (from 0) of `steps` uses; never 0 before the last step is done."""
    warmup = round(settings.warmup_fraction * steps)
    if step < warmup:
        return (step + 1) / warmup
    if not settings.cosine:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
