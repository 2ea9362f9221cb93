"""Losses from learning to rank: ListMLE and LambdaRank."""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from headrank.alignment.losses.base import ListwiseInput, NoReference, attached_zero
from headrank.settings import Ge, Gt, settings


@settings
class ListMLE(NoReference):
    """-log of the Plackett-Luce likelihood of the order by grades, divided by the number of passages drawn.

    Without ties it is ListMLE: from the highest grade down, each passage i costs log(sum of exp(z_j)) - z_i, with the
    sum over all passages j not drawn yet, i included. Passages of one grade are tied. Ties (ours) follow Efron's rule
    for the Cox model, which has the same likelihood: with S the sum of exp(z) over the d passages of a grade and B over
    all lower grades, the cost is the sum for k = 0 .. d-1 of log(B + (1 - k/d) S), minus the sum of their z. This cost
    is smooth and does not depend on the order of tied passages. It equals the exact cost if their z are equal. The
    passages of the lowest grade are not drawn, since any order of them agrees with the grades; drawing them would train
    the many unjudged passages towards equal scores. The mean instead of the paper's sum (ours) gives lists of any
    length the same weight. The loss of a list with fewer than two grades is 0.

    Args:
        none.

    References:
        - ListMLE, Xia et al., ICML 2008, https://doi.org/10.1145/1390156.1390306
        - Efron, The efficiency of Cox's likelihood function for censored data, JASA 1977 (ties)

    Inputs:
        | x.z     | x.grades | x.pairs | x.reference |
        |---------|----------|---------|-------------|
        | (docs,) | (docs,)  | unused  | unused      |

    Example:
        >>> import torch
        >>> from headrank.alignment import ListMLE, ListwiseInput, PairSettings, mine_pairs
        >>> z, grades = torch.zeros(3), torch.tensor([0, 3, 1])
        >>> x = ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings()))
        >>> round(float(ListMLE()(x)), 4)  # (log 3 + log 2) / 2
        0.8959
    """

    name: ClassVar[str] = "listmle"

    def __call__(self, x: ListwiseInput) -> Float[Tensor, ""]:
        """Return the loss of one candidate list."""
        levels = x.grades.unique()  # ascending
        if len(levels) < 2:
            return attached_zero(x.z)
        costs = []
        for level in levels[1:]:
            tied, lower = x.z[x.grades == level], torch.logsumexp(x.z[x.grades < level], 0)
            drawn = torch.arange(len(tied), device=x.z.device, dtype=x.z.dtype) / len(tied)
            costs.append(torch.logaddexp(lower, torch.logsumexp(tied, 0) + torch.log1p(-drawn)) - tied)
        return torch.cat(costs).mean()


@settings
class LambdaRank(NoReference):
    """Sum over pairs with y_i > y_j of |delta nDCG_ij| * log(1 + exp(-sigma (z_i - z_j))).

    delta nDCG_ij is the change of nDCG@cutoff if i and j swap places in the order by z: |y_i - y_j| * |D(i) - D(j)| /
    ideal DCG, with D = 1 / log2(1 + rank) up to the cutoff and 0 below it. No gradient flows through it, and a pair
    of two passages below the cutoff has weight 0. The gain is the grade, as in the nDCG this project reports; the
    paper's is 2^y - 1. For equal z the lower grade ranks first (ours), so that a tie costs. The pairs are all pairs of
    different grades, not the mined ones (`x.pairs`). Without such a pair the loss is 0.

    Args:
        cutoff: the number of ranks that nDCG counts, at least 1. Default: 10.
        sigma: the steepness of the logistic loss, above 0. Default: 1.

    References:
        - Burges, From RankNet to LambdaRank to LambdaMART, MSR-TR-2010-82, section 4
        - LambdaLoss, Wang et al., CIKM 2018, https://doi.org/10.1145/3269206.3271784 (as a loss)

    Inputs:
        | x.z     | x.grades | x.pairs | x.reference |
        |---------|----------|---------|-------------|
        | (docs,) | (docs,)  | unused  | unused      |

    Example:
        >>> import torch
        >>> from headrank.alignment import LambdaRank, ListwiseInput, PairSettings, mine_pairs
        >>> z, grades = torch.tensor([0.0, 0.0]), torch.tensor([0, 1])
        >>> x = ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings()))
        >>> round(float(LambdaRank()(x)), 4)  # (1 - 1 / log2(3)) * log 2
        0.2558
    """

    name: ClassVar[str] = "lambdarank"
    cutoff: Annotated[int, Ge(1)] = 10
    sigma: Annotated[float, Gt(0)] = 1.0

    def __call__(self, x: ListwiseInput) -> Float[Tensor, ""]:
        """Return the loss of one candidate list."""
        better, worse = (x.grades[:, None] > x.grades[None, :]).nonzero(as_tuple=True)
        if not len(better):
            return attached_zero(x.z)
        gain = x.grades.to(x.z.dtype)
        discount = self._discount(torch.arange(len(gain), device=gain.device), gain.dtype)
        at_rank = discount[_ranks(x.z.detach(), x.grades)]
        ideal = (gain.sort(descending=True).values * discount).sum()  # > 0, since one grade is above another
        delta = (gain[better] - gain[worse]) * (at_rank[better] - at_rank[worse]).abs() / ideal
        return -(delta * logsigmoid(self.sigma * (x.z[better] - x.z[worse]))).sum()

    def _discount(self, rank: Int[Tensor, " docs"], dtype: torch.dtype) -> Float[Tensor, " docs"]:
        return torch.where(rank < self.cutoff, 1 / torch.log2(rank.to(dtype) + 2), 0)


def _ranks(z: Float[Tensor, " docs"], grades: Int[Tensor, " docs"]) -> Int[Tensor, " docs"]:
    """Ranks from 0 by z descending; equal z by grade ascending."""
    order = grades.argsort(stable=True)
    order = order[z[order].argsort(descending=True, stable=True)]
    return order.argsort()
