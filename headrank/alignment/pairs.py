"""Choose the preference pairs of a labelled list: the passages that training compares, and the weight of each pair.

All indices are context positions. A pair is eligible by its grades. Among the eligible pairs, z (the passage scores of
the model in training) decides which are kept; no gradient flows through this choice. The paper (arXiv 2604.17237)
trains on hard pairs of adjacent grades. The margin, the fraction and the extra weight in the middle zone (the middle
half of the context) are ours.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headrank.ranking import middle_zone
from headrank.settings import Ge, Gt, Le, one_of, settings


class PairMining(StrEnum):
    """Which eligible pairs are kept.

    `hard`: the pairs of smallest margin. `random`: a random share. `all`: every pair.
    """

    HARD = "hard"
    RANDOM = "random"
    ALL = "all"


class PairLevels(StrEnum):
    """Which pairs are eligible.

    `adjacent`: pairs of adjacent grade levels of the list. `all`: pairs of any two different grades.
    """

    ADJACENT = "adjacent"
    ALL = "all"


@settings
class PairSettings:
    """How preference pairs are chosen and weighted.

    mining: the pairs that are kept, see `PairMining`; `all` ignores the fraction.
    levels: the pairs that are eligible, see `PairLevels`.
    fraction: rho in (0, 1], the share that is kept of the pairs of each two grades. The number is rounded to the
        nearest integer (halves up), and at least one pair is kept.
    zone_weight: alpha >= 0; a pair with a passage in the middle zone has weight 1 + alpha, any other pair 1.
    """

    mining: Annotated[str, one_of(PairMining)] = "hard"
    levels: Annotated[str, one_of(PairLevels)] = "adjacent"
    fraction: Annotated[float, Gt(0), Le(1)] = 0.5
    zone_weight: Annotated[float, Ge(0)] = 1.0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Preference pairs as context positions: `better[p]` has a higher grade than `worse[p]`.

    better, worse, weight: [pairs]; the weights are finite and above 0.

    Raises `ValueError` if lengths differ or a weight is not a finite number above 0.
    """

    better: Int[Tensor, " pairs"]
    worse: Int[Tensor, " pairs"]
    weight: Float[Tensor, " pairs"]

    def __post_init__(self):
        lengths = (len(self.better), len(self.worse), len(self.weight))
        if len(set(lengths)) > 1:
            raise ValueError(f"pairs with {lengths} better, worse and weight entries, expected equal numbers")
        if not bool(((self.weight > 0) & self.weight.isfinite()).all()):
            raise ValueError(f"pair weights {self.weight.tolist()}, expected finite numbers above 0")

    def __len__(self) -> int:
        return len(self.better)


def in_middle_zone(docs: int, device: torch.device | str | None = None) -> Bool[Tensor, " docs"]:
    """Return a mask [docs] that is True at the context positions of the middle zone.

    Args:
        docs: the number of passages of the context.
        device: the device of the mask; None: torch's default device.
    """
    inside = torch.zeros(docs, dtype=torch.bool, device=device)
    inside[middle_zone(docs)] = True
    return inside


def check_list(z: Float[Tensor, " docs"], grades: Int[Tensor, " docs"]) -> None:
    """Raise `ValueError` unless z is finite, z and grades have the same length, and all grades are 0 or more."""
    if z.ndim != 1 or grades.shape != z.shape:
        raise ValueError(f"z of shape {tuple(z.shape)} with grades of shape {tuple(grades.shape)}, expected equal ones")
    check_finite("z", z)
    if bool((grades < 0).any()):
        raise ValueError(f"grades down to {int(grades.min())}, expected 0 or more: set negative grades to 0 first")


def check_finite(name: str, scores: Float[Tensor, " docs"]) -> None:
    """Raise `ValueError` if a score is NaN or infinite.

    Args:
        name: what the message calls the scores, such as `z`.
        scores: [docs], in context order; the message gives the first wrong position.
    """
    bad = (~scores.isfinite()).nonzero()
    if len(bad):
        c = int(bad[0, 0])
        value = float(scores.detach()[c])
        raise ValueError(
            f"{name} is {value} at context position {c} ({len(bad)} of {len(scores)} are not finite), "
            "expected finite numbers: look for overflow in half precision or too high a learning rate"
        )


@torch.no_grad()
def mine_pairs(
    z: Float[Tensor, " docs"],
    grades: Int[Tensor, " docs"],
    settings: PairSettings,
    *,
    generator: torch.Generator | None = None,
) -> Pairs:
    """Choose the preference pairs of a list.

    The margin of a pair (ours) is z_i - z_j, with i of the higher grade. A smaller margin is harder; it is negative if
    the model ranks the pair wrongly. Of pairs with equal margins, the one whose better, then worse passage comes first
    in the context is kept first.

    Args:
        z: [docs], passage scores in context order.
        grades: [docs], 0 or more, in context order.
        settings: how pairs are chosen and weighted.
        generator: draws random pairs, on its device; None: torch's global generator.

    Returns:
        The pairs, sorted by (better, worse), with weights in the dtype of z; empty if all grades are equal.

    Raises:
        ValueError: z is NaN or infinite, a grade is negative, or the lengths differ.
    """
    check_list(z, grades)
    levels, level = grades.unique(return_inverse=True)  # sorted; level numbers those present from 0
    gap = level[:, None] - level[None, :]
    better, worse = ((gap == 1) if settings.levels == PairLevels.ADJACENT else (gap > 0)).nonzero(as_tuple=True)
    if settings.mining != PairMining.ALL and len(better):
        if settings.mining == PairMining.HARD:
            hardness = z[better] - z[worse]
        else:
            device = generator.device if generator is not None else None
            hardness = torch.randperm(len(better), generator=generator, device=device).to(z.device)
        kept = _first_of_each(hardness, level[better] * len(levels) + level[worse], settings.fraction)
        better, worse = better[kept], worse[kept]
    zone = in_middle_zone(len(z), z.device)
    weight = 1 + settings.zone_weight * (zone[better] | zone[worse]).to(z.dtype)
    return Pairs(better, worse, weight)


def _first_of_each(key: Tensor, group: Int[Tensor, " pairs"], fraction: float) -> Int[Tensor, " kept"]:
    """Ascending indices of the fraction with the smallest keys in each group."""
    order = key.argsort(stable=True)
    order = order[group[order].argsort(stable=True)]  # by group, by key within it
    _, member, count = group[order].unique_consecutive(return_inverse=True, return_counts=True)
    start = count.cumsum(0) - count
    # in fp64, on the CPU: not every accelerator has it
    keep = (fraction * count.cpu().double() + 0.5).floor().clamp(min=1).to(count)
    rank = torch.arange(len(order), device=order.device) - start[member]
    return order[rank < keep[member]].sort().values
