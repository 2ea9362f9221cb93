"""Regularizers of the score distribution of a list. All formulas are ours.

The paper (arXiv 2604.17237) names a distribution regularizer without a formula.
"""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from headrank.alignment.losses.base import ListwiseInput, NoReference, attached_zero
from headrank.ranking import middle_zone
from headrank.settings import Ge, Gt, settings


@settings
class GradedKL(NoReference):
    """KL( softmax(y / tau) || softmax(z) ) over the passages of the list: score mass in proportion to the grades. Ours.

    The target of a list with one grade is uniform, which trains equal scores: use lists of two grades or more. The
    loss of a list with at most one passage is 0.

    Args:
        tau: the temperature of the grades y, above 0; a smaller tau gives more mass to the highest grade. Default:
            0.75.

    References:
        - HeadRank, https://arxiv.org/abs/2604.17237 (a distribution regularizer; no formula)
        - ListNet, Cao et al., ICML 2007, https://doi.org/10.1145/1273496.1273513: the same up to a constant, with tau 1

    Inputs:
        | x.z     | x.grades | x.pairs | x.reference |
        |---------|----------|---------|-------------|
        | (docs,) | (docs,)  | unused  | unused      |

    Example:
        >>> import torch
        >>> from headrank.alignment import GradedKL, ListwiseInput, PairSettings, mine_pairs
        >>> z, grades = torch.tensor([0.0, 4.0]), torch.tensor([0, 3])
        >>> x = ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings()))
        >>> abs(float(GradedKL(tau=0.75)(x))) < 1e-6  # 3 / 0.75 is the difference of z: the target is met
        True
    """

    name: ClassVar[str] = "graded_kl"
    tau: Annotated[float, Gt(0)] = 0.75

    def __call__(self, x: ListwiseInput) -> Float[Tensor, ""]:
        """Return the loss of one candidate list."""
        target = torch.log_softmax(x.grades.to(x.z.dtype) / self.tau, 0)
        return (target.exp() * (target - torch.log_softmax(x.z, 0))).sum()


@settings
class Spread(NoReference):
    """relu(sigma0 - std of z in the middle zone)^2: penalises similar scores in the middle of the context. Ours.

    The middle zone is the middle half of the context (`headrank.ranking.middle_zone`). The std is the population's, as
    in the report's homogenization. If the zone has fewer than two passages, the loss is 0. Equal scores cost sigma0^2
    and have no gradient.

    Args:
        sigma0: the std from which the loss is 0, in units of z, 0 or more. Default: 1.

    References:
        - HeadRank, https://arxiv.org/abs/2604.17237 (attention score homogenization; no formula)

    Inputs:
        | x.z                      | x.grades | x.pairs | x.reference |
        |--------------------------|----------|---------|-------------|
        | (docs,) in context order | unused   | unused  | unused      |

    Example:
        >>> import torch
        >>> from headrank.alignment import ListwiseInput, PairSettings, Spread, mine_pairs
        >>> z, grades = torch.tensor([9.0, 0.25, 0.75, -9.0]), torch.tensor([0, 1, 0, 0])
        >>> x = ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings()))
        >>> float(Spread(sigma0=1.0)(x))  # the zone is positions 1 and 2, their std .25
        0.5625
    """

    name: ClassVar[str] = "spread"
    sigma0: Annotated[float, Ge(0)] = 1.0

    def __call__(self, x: ListwiseInput) -> Float[Tensor, ""]:
        """Return the loss of one candidate list."""
        zone = x.z[middle_zone(len(x.z))]
        if len(zone) < 2:
            return attached_zero(x.z)
        return torch.relu(self.sigma0 - zone.std(correction=0)) ** 2


@settings
class NoLoss(NoReference):
    """A constant loss of 0, for configurations without a loss or a regularizer. backward() gives zero gradients.

    Args:
        none.

    References:
        - ours.

    Inputs:
        | x.z     | x.grades | x.pairs | x.reference |
        |---------|----------|---------|-------------|
        | (docs,) | unused   | unused  | unused      |

    Example:
        >>> import torch
        >>> from headrank.alignment import ListwiseInput, NoLoss, PairSettings, mine_pairs
        >>> z, grades = torch.tensor([0.5, 4.0]), torch.tensor([0, 3])
        >>> float(NoLoss()(ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings()))))
        0.0
    """

    name: ClassVar[str] = "none"

    def __call__(self, x: ListwiseInput) -> Float[Tensor, ""]:
        """Return a loss of 0 with zero gradients."""
        return attached_zero(x.z)
