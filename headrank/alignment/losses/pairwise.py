"""The pairwise loss `Preference`, on the scores z of preference pairs."""

from typing import Annotated, ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from headrank.alignment.losses.base import ListwiseInput, attached_zero
from headrank.settings import Ge, Gt, settings


@settings
class Preference:
    """-log sigmoid( beta * ((z_i - z_j) - kappa * (zref_i - zref_j)) - margin ), weighted mean over the pairs (i, j).

    z are the scores of the model in training, zref those of the frozen start model (`x.reference`). kappa = 0 is
    Bradley-Terry's model, RankNet's loss. kappa = 1 has the shape of DPO with z instead of a reply's log probability.
    The paper trains on preference pairs in the continuous attention domain and gives no formula; this one is ours.
    Without pairs the loss is 0.

    Args:
        beta: the steepness of the logistic loss, above 0. Default: 1.
        kappa: the share of the start model's margin zref_i - zref_j that is subtracted, 0 or more. Default: 0.
        margin: subtracted from beta times the difference, of any sign, in logits. Default: 0.

    References:
        - HeadRank, https://arxiv.org/abs/2604.17237 (pairs; no formula)
        - RankNet, Burges et al., ICML 2005, https://doi.org/10.1145/1102351.1102363
        - DPO, Rafailov et al., https://arxiv.org/abs/2305.18290, equation 7

    Inputs:
        | x.z     | x.grades | x.pairs  | x.reference              |
        |---------|----------|----------|--------------------------|
        | (docs,) | unused   | (pairs,) | (docs,) unless kappa = 0 |

    Example:
        >>> import torch
        >>> from headrank.alignment import ListwiseInput, PairSettings, Preference, mine_pairs
        >>> z, grades = torch.tensor([0.0, 2.0]), torch.tensor([0, 3])
        >>> x = ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings()))
        >>> round(float(Preference(beta=0.5)(x)), 4)  # log(1 + 1/e)
        0.3133
    """

    name: ClassVar[str] = "preference"
    beta: Annotated[float, Gt(0)] = 1.0
    kappa: Annotated[float, Ge(0)] = 0.0
    margin: float = 0.0

    @property
    def needs_reference(self) -> bool:
        """Whether the loss needs the scores of the start model: True unless kappa is 0."""
        return self.kappa != 0

    def __call__(self, x: ListwiseInput) -> Float[Tensor, ""]:
        """Return the loss of one candidate list. Raises `ValueError` if the reference is needed and None."""
        better, worse = x.pairs.better, x.pairs.worse
        if self.needs_reference and x.reference is None:
            raise ValueError(
                f"Preference with kappa {self.kappa} needs the start model's scores, but reference is None: "
                "pass reference, or set kappa to 0"
            )
        if not len(x.pairs):
            return attached_zero(x.z)
        difference = x.z[better] - x.z[worse]
        if self.needs_reference and x.reference is not None:
            reference = x.reference.detach().to(x.z.dtype)
            difference = difference - self.kappa * (reference[better] - reference[worse])
        weight = x.pairs.weight.to(x.z.dtype)
        return -(weight * logsigmoid(self.beta * difference - self.margin)).sum() / weight.sum()
