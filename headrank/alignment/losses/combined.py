"""The weighted sum of several losses."""

from collections.abc import Mapping
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from headrank.alignment.losses.base import ListwiseInput, Loss
from headrank.settings import Ge, settings, wrong


@settings
class WeightedLosses:
    """The sum of weight * loss over named losses. Ours.

    A loss of weight 0 is computed and reported, and trains nothing.

    Args:
        terms: name -> (weight, loss), at least one; weights are finite and 0 or more.

    References:
        - ours; the paper trains preference pairs together with a distribution regularizer,
          https://arxiv.org/abs/2604.17237

    Inputs:
        | x.z     | x.grades | x.pairs  | x.reference                | x.targets       |
        |---------|----------|----------|----------------------------|-----------------|
        | (docs,) | (docs,)  | (pairs,) | (docs,) if a loss needs it | (docs,) or None |

    Example:
        >>> import torch
        >>> from headrank.alignment import (
        ...     GradedKL, ListwiseInput, PairSettings, Preference, WeightedLosses, mine_pairs
        ... )
        >>> z, grades = torch.tensor([0.0, 4.0]), torch.tensor([0, 3])
        >>> x = ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings()))
        >>> losses = WeightedLosses({"preference": (1.0, Preference()), "graded_kl": (0.5, GradedKL())})
        >>> total, values = losses(x)
        >>> round(float(total), 4), sorted(values)
        (0.0181, ['graded_kl', 'preference'])
    """

    terms: Mapping[str, tuple[Annotated[float, Ge(0)], Loss]]

    def __post_init__(self):
        if not self.terms:
            raise wrong("terms", {}, "at least one loss (NoLoss is one)")

    @property
    def needs_reference(self) -> bool:
        """Whether any loss needs the start model's scores, `ListwiseInput.reference`."""
        return any(loss.needs_reference for _, loss in self.terms.values())

    @property
    def needs_targets(self) -> bool:
        """Whether any loss is 0 without the teacher's scores, `ListwiseInput.targets`."""
        return any(getattr(loss, "needs_targets", False) for _, loss in self.terms.values())

    def __call__(self, x: ListwiseInput) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Return the weighted sum, and name -> value of each loss, without its weight and detached."""
        values = {name: loss(x) for name, (_, loss) in self.terms.items()}
        total = torch.stack([weight * values[name] for name, (weight, _) in self.terms.items()]).sum()
        return total, {name: value.detach() for name, value in values.items()}
