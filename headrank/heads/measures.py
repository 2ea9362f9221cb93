"""What is measured of a head on labelled lists: discriminability, entropy, its own nDCG."""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor


def discriminability(scores: Float[Tensor, "heads docs"], grades: Int[Tensor, " docs"]) -> Float[Tensor, " heads"]:
    """Mean over adjacent grade levels of P(s_h(i) > s_h(j)), i of the higher level, j of the lower, ties one half.

    Levels are those present in the list. Ours. 0.5 is chance. Raises `ValueError` with fewer than two levels.
    """
    levels = grades.unique().tolist()
    if len(levels) < 2:
        raise ValueError(f"discriminability needs two grades or more, this list has {levels}")
    values = []
    for low, high in pairwise(levels):
        difference = scores[:, grades == high, None] - scores[:, None, grades == low]
        values.append(((difference > 0).float() + 0.5 * (difference == 0).float()).mean((1, 2)))
    return torch.stack(values).mean(0)


def entropy(scores: Float[Tensor, "heads docs"]) -> Float[Tensor, " heads"]:
    """-sum p log p / log N of p_i = s_h(i) / sum_k s_h(k), in [0, 1]; of uncalibrated scores. Ours.

    A head that attends no passage at all spreads nothing: its entropy is 1, the value of a uniform head. With a
    single passage it is 0.
    """
    N = scores.shape[1]
    if N < 2:
        return torch.zeros(scores.shape[0])
    total = scores.sum(1, keepdim=True)
    p = torch.where(total > 0, scores / total.clamp(min=torch.finfo(torch.float32).tiny), 1 / N)
    return torch.special.entr(p).sum(1) / torch.log(torch.tensor(float(N)))


def ndcg(
    scores: Float[Tensor, "heads docs"], grades: Int[Tensor, " docs"], cutoff: int = 10
) -> Float[Tensor, " heads"]:
    """nDCG@cutoff of ranking the list by each row of scores: linear gain, log2 discount, ideal order within the list.

    Tied passages share their places (the mean over their orders): in the list's own order, which is the first stage's,
    a head that says nothing would score as the first stage does. 0 where nothing is relevant. For choosing among
    heads; results are scored by ranx.
    """
    gains = grades.clamp(min=0).float()
    size = min(cutoff, len(gains))
    discount = 1 / torch.log2(torch.arange(2, size + 2).float())
    ideal = (gains.sort(descending=True).values[:size] * discount).sum()
    if ideal == 0:
        return torch.zeros(scores.shape[0])
    tied = (scores[:, :, None] == scores[:, None, :]).float()
    shared = tied @ gains / tied.sum(2)
    order = torch.argsort(scores, dim=1, descending=True, stable=True)[:, :size]
    return (shared.gather(1, order) * discount).sum(1) / ideal
