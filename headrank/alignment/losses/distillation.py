"""Losses against a teacher's scores (distillation): TeacherKL and MarginMSE. The paper does not distil."""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from headrank.alignment.losses.base import ListwiseInput, NoReference, attached_zero
from headrank.alignment.pairs import standardised
from headrank.settings import Ge, Gt, settings


@settings
class TeacherKL(NoReference):
    """KL( softmax(t / tau) || softmax(z) ) over the passages of the list, t the teacher's standardised scores.

    Hinton's distillation with passages as classes. Ours: t has mean 0 and standard deviation 1 in each list, because
    scores of different teachers have different scales; z is not standardised and has no temperature here
    (`alignment.temperature` is already in it), so that its scale is trained. The loss is 0 for a list without a
    teacher, with at most one passage, or with equal scores of the teacher.

    Args:
        tau: the temperature of the teacher, above 0; a smaller tau gives more mass to its best passages. Default: 1.

    References:
        - Hinton et al., Distilling the knowledge in a neural network, https://arxiv.org/abs/1503.02531, section 2
        - ListNet, Cao et al., ICML 2007, https://doi.org/10.1145/1273496.1273513 (the distribution over a list)

    Inputs:
        | x.z     | x.grades | x.pairs | x.reference | x.targets       |
        |---------|----------|---------|-------------|-----------------|
        | (docs,) | unused   | unused  | unused      | (docs,) or None |

    Example:
        >>> import torch
        >>> from headrank.alignment import ListwiseInput, PairSettings, TeacherKL, mine_pairs
        >>> z, grades = torch.tensor([0.0, 4.0]), torch.tensor([0, 3])
        >>> x = ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings()), targets=torch.tensor([10.0, 30.0]))
        >>> abs(float(TeacherKL(tau=0.5)(x))) < 1e-6  # standardised: -1 and 1; 2 / 0.5 is the difference of z
        True
    """

    name: ClassVar[str] = "teacher_kl"
    needs_targets: ClassVar[bool] = True
    tau: Annotated[float, Gt(0)] = 1.0

    def __call__(self, x: ListwiseInput) -> Float[Tensor, ""]:
        """Return the loss of one candidate list."""
        targets = _targets(x)
        if targets is None:
            return attached_zero(x.z)
        target = torch.log_softmax(targets / self.tau, 0)
        return (target.exp() * (target - torch.log_softmax(x.z, 0))).sum()


@settings
class MarginMSE(NoReference):
    """Mean over all pairs (i, j) of ( (z_i - z_j) - scale * (t_i - t_j) )^2, t the teacher's standardised scores.

    From the paper: the squared difference of the student's and the teacher's margin. Ours: all pairs of the list
    instead of one relevant and one irrelevant passage, and t has mean 0 and standard deviation 1 in each list, because
    scores of different teachers have different scales. The loss is computed as 2 * the sample variance of z - scale *
    t, which is equal. It is 0 for a list without a teacher, with at most one passage, or with equal scores of the
    teacher.

    Args:
        scale: the standard deviation of z that is trained, in units of z, 0 or more. Default: 1.

    References:
        - Margin-MSE, Hofstaetter et al., https://arxiv.org/abs/2010.02666, equation 4

    Inputs:
        | x.z     | x.grades | x.pairs | x.reference | x.targets       |
        |---------|----------|---------|-------------|-----------------|
        | (docs,) | unused   | unused  | unused      | (docs,) or None |

    Example:
        >>> import torch
        >>> from headrank.alignment import ListwiseInput, MarginMSE, PairSettings, mine_pairs
        >>> z, grades = torch.tensor([0.0, 5.0]), torch.tensor([0, 3])
        >>> x = ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings()), targets=torch.tensor([10.0, 30.0]))
        >>> float(MarginMSE(scale=2.0)(x))  # margins 5 and 2 * 2
        1.0
    """

    name: ClassVar[str] = "margin_mse"
    needs_targets: ClassVar[bool] = True
    scale: Annotated[float, Ge(0)] = 1.0

    def __call__(self, x: ListwiseInput) -> Float[Tensor, ""]:
        """Return the loss of one candidate list."""
        targets = _targets(x)
        return attached_zero(x.z) if targets is None else 2 * (x.z - self.scale * targets).var()


def _targets(x: ListwiseInput) -> Float[Tensor, " docs"] | None:
    """The teacher's standardised scores in the dtype of z, without gradient; None if they say nothing."""
    targets = None if x.targets is None else standardised(x.targets.detach().to(x.z.dtype))
    return None if targets is None or not bool(targets.any()) else targets
