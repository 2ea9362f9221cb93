"""Contrastive losses: InfoNCE, and QRRanker's loss on max-min scaled scores."""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from headrank.alignment.losses.base import ListwiseInput, NoReference, attached_zero, relevant_passages
from headrank.settings import Ge, Gt, settings


@settings
class InfoNCE(NoReference):
    """Mean over relevant i of -log( exp(z_i/t) / (exp(z_i/t) + sum over irrelevant j of exp(z_j/t)) ).

    Each relevant passage is contrasted with the irrelevant ones, not with other relevant ones. The choice of relevant
    passages is ours: those of the highest grade in the list, or those whose grade reaches a threshold. If no passage or
    every passage is relevant, the loss is 0.

    Args:
        temperature: t, above 0. Default: 1.
        relevance_threshold: the lowest relevant grade; None: only the highest grade of each list is relevant. Default:
            None.

    References:
        - InfoNCE, van den Oord et al., https://arxiv.org/abs/1807.03748, equation 4

    Inputs:
        | x.z     | x.grades | x.pairs | x.reference |
        |---------|----------|---------|-------------|
        | (docs,) | (docs,)  | unused  | unused      |

    Example:
        >>> import torch
        >>> from headrank.alignment import InfoNCE, ListwiseInput, PairSettings, mine_pairs
        >>> z, grades = torch.zeros(3), torch.tensor([0, 3, 1])
        >>> x = ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings()))
        >>> round(float(InfoNCE()(x)), 4)  # log 3: one of three
        1.0986
        >>> round(float(InfoNCE(relevance_threshold=1)(x)), 4)  # log 2: two relevant ones, each of two
        0.6931
    """

    name: ClassVar[str] = "infonce"
    temperature: Annotated[float, Gt(0)] = 1.0
    relevance_threshold: Annotated[int, Ge(1)] | None = None

    def __call__(self, x: ListwiseInput) -> Float[Tensor, ""]:
        """Return the loss of one candidate list."""
        return _contrast(x.z / self.temperature, relevant_passages(x.grades, self.relevance_threshold))


@settings
class QRRankerLoss(NoReference):
    """InfoNCE's formula on max-min scaled scores: u_i = (z_i - min z) / (max z - min z) / temperature.

    The loss is the mean over relevant i of -log( exp(u_i) / (exp(u_i) + sum over irrelevant j of exp(u_j)) ). From
    QRRanker's paper: the mean over relevant passages, each contrasted with the irrelevant ones only, and the scaling to
    [0, 8]. Ours: z replaces the summed attention, gradients flow through max and min, grades define the relevant
    passages, and a list of equal scores gets no gradient (the scaling would divide by 0). A shift or a positive factor
    of z does not change the loss. If no passage or every passage is relevant, the loss is 0.

    Args:
        temperature: above 0; the scaled scores lie in [0, 1 / temperature]. Default: 0.125, the paper's [0, 8].
        relevance_threshold: the lowest relevant grade; None: only the highest grade of each list is relevant. Default:
            None.

    References:
        - QRRanker, Li et al., https://arxiv.org/abs/2602.12192, its training objective

    Inputs:
        | x.z     | x.grades | x.pairs | x.reference |
        |---------|----------|---------|-------------|
        | (docs,) | (docs,)  | unused  | unused      |

    Example:
        >>> import torch
        >>> from headrank.alignment import ListwiseInput, PairSettings, QRRankerLoss, mine_pairs
        >>> z, grades = torch.tensor([5.0, 9.0]), torch.tensor([0, 3])
        >>> x = ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings()))
        >>> round(float(QRRankerLoss(temperature=0.5)(x)), 4)  # scaled to 0 and 2: log(1 + exp(-2))
        0.1269
    """

    name: ClassVar[str] = "qrranker"
    temperature: Annotated[float, Gt(0)] = 0.125
    relevance_threshold: Annotated[int, Ge(1)] | None = None

    def __call__(self, x: ListwiseInput) -> Float[Tensor, ""]:
        """Return the loss of one candidate list."""
        relevant = relevant_passages(x.grades, self.relevance_threshold)
        if not len(x.z):
            return attached_zero(x.z)
        lowest, width = x.z.amin(), x.z.amax() - x.z.amin()
        scaled = (x.z - lowest) / width / self.temperature if bool(width > 0) else x.z * 0
        return _contrast(scaled, relevant)


def _contrast(logits: Float[Tensor, " docs"], relevant: Bool[Tensor, " docs"]) -> Float[Tensor, ""]:
    if not bool(relevant.any()) or bool(relevant.all()):
        return attached_zero(logits)
    rest = torch.logsumexp(logits[~relevant], 0)
    return -logsigmoid(logits[relevant] - rest).mean()
