"""The optimizer of alignment: AdamW with clipped gradients, linear warm-up and cosine decay."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from headrank.alignment.adapters import MATRICES, layer_of, reached
from headrank.settings import Ge, Gt, Le, Listed, Lt, settings, wrong


@settings
class OptimizerSettings:
    """Settings of AdamW (Loshchilov and Hutter, arXiv 1711.05101) and its learning rate schedule. Defaults are ours."""

    lr: Annotated[float, Gt(0)] = 2e-4  # the peak rate
    weight_decay: Annotated[float, Ge(0)] = 0.0
    betas: Listed[Annotated[float, Ge(0), Lt(1)]] = (0.9, 0.999)  # decay of the two moments
    clip: Annotated[float, Gt(0)] = 1.0  # the largest norm of the gradient; the Trainer clips
    warmup_fraction: Annotated[float, Ge(0), Le(1)] = 0.1  # share of the steps in which the rate rises from 0
    cosine: bool = True  # False: the rate stays at its peak after the warm-up

    def __post_init__(self) -> None:
        if len(self.betas) != 2:
            raise wrong("betas", list(self.betas), "two numbers")


def make_optimizer(
    parameters: Sequence[nn.Parameter], settings: OptimizerSettings, steps: int | float
) -> tuple[AdamW, LambdaLR]:
    """Create AdamW and a learning rate schedule that advances after every step.

    Weight decay applies to matrices only, not to vectors such as the head weights.

    Args:
        parameters: the parameters; those without `requires_grad` are left out.
        settings: learning rate, decay and schedule.
        steps: the number of optimizer steps of the whole training.

    Raises:
        ValueError: no parameter is trainable, or `steps` is not a finite number above 0.
    """
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if not trainable:
        raise ValueError("alignment has no trainable parameter: was the module frozen after its creation?")
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
    """Return the learning rate of a step as a fraction of the peak rate, in (0, 1].

    It rises linearly during the warm-up. Then it falls along a half cosine, or stays 1 if `cosine` is False.

    Args:
        step: the index of the step, from 0.
        steps: the total number of steps.
        settings: warm-up and cosine decay.
    """
    warmup = round(settings.warmup_fraction * steps)
    if step < warmup:
        return (step + 1) / warmup
    if not settings.cosine:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def unreached(trained: Mapping[str, nn.Parameter], layers: str, depth: int) -> list[nn.Parameter]:
    """Return the trained parameters that do not affect head scores, because of their layer or matrix (see `reached`).

    Args:
        trained: name -> parameter.
        layers: the name of the module list of decoder layers, as in these names.
        depth: the number of computed layers.
    """
    found = []
    for name, parameter in trained.items():
        layer = layer_of(name, layers)
        matrix = next((part for part in name.split(".") if part in MATRICES), "")
        if layer is not None and not reached(matrix, layer, depth):
            found.append(parameter)
    return found
