"""Measures of attention heads on one labelled list: discriminability, entropy and nDCG."""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor


def discriminability(scores: Float[Tensor, "heads docs"], grades: Int[Tensor, " docs"]) -> Float[Tensor, " heads"]:
    """Return the probability that a head scores a passage above one of the adjacent lower grade level. Ours.

    It is the mean over adjacent grade levels of P(s_h(i) > s_h(j)), with i of the higher and j of the lower grade; a
    tie counts 0.5. Chance is 0.5.

    Args:
        scores: [heads, docs].
        grades: [docs].

    Returns:
        [heads], in [0, 1].

    Raises:
        ValueError: the list has fewer than two grades.
    """
    levels = grades.unique().tolist()
    if len(levels) < 2:
        raise ValueError(f"discriminability: expected two grades or more, found {levels}")
    values = []
    for low, high in pairwise(levels):
        difference = scores[:, grades == high, None] - scores[:, None, grades == low]
        values.append(((difference > 0).float() + 0.5 * (difference == 0).float()).mean((1, 2)))
    return torch.stack(values).mean(0)


def entropy(scores: Float[Tensor, "heads docs"]) -> Float[Tensor, " heads"]:
    """Return the normalised entropy of each head's scores over the passages. Ours.

    It is -sum p_i log p_i / log N for N passages, with p_i = s_h(i) / sum_k s_h(k). A head that attends to no passage
    has entropy 1, like a uniform head. With a single passage the entropy is 0.

    Args:
        scores: [heads, docs], uncalibrated attention mass >= 0.

    Returns:
        [heads], in [0, 1].
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
    """Return nDCG@cutoff of the candidate list ranked by each head, with linear gain and log2 discount.

    The ideal order contains only the list's passages. Tied passages share the mean gain of their group. Otherwise ties
    would keep the first-stage order, and a constant head would score like the first stage. This function is for
    selecting heads; results are scored by ranx.

    Args:
        scores: [heads, docs].
        grades: [docs]; negative grades count as 0.
        cutoff: the number of ranks that count.

    Returns:
        [heads], in [0, 1]; 0 if no grade is above 0.
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
