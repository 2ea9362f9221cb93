"""Choose the preference pairs of a labelled list: the passages that training compares, and the weight of each pair.

All indices are context positions. A pair is eligible by its grades, or by a teacher's scores. Among the eligible
pairs, z (the passage scores of the model in training) decides which are kept; no gradient flows through this choice.
The paper (arXiv 2604.17237) trains on hard pairs of adjacent grades. The margin, the fraction and the extra weight in
the middle zone (the middle half of the context) are ours.
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

    `adjacent`: pairs of adjacent grade levels of the list. `all`: pairs of any two different grades. `teacher_margins`:
    pairs whose teacher's scores differ by at least `min_margin`; in a list without a teacher those of `adjacent`.
    """

    ADJACENT = "adjacent"
    ALL = "all"
    TEACHER_MARGINS = "teacher_margins"


@settings
class PairSettings:
    """How preference pairs are chosen and weighted.

    mining: the pairs that are kept, see `PairMining`; `all` ignores the fraction.
    levels: the pairs that are eligible, see `PairLevels`.
    fraction: rho in (0, 1], the share that is kept of the pairs of each two grades, or of all pairs that are eligible
        by a teacher's scores. The number is rounded to the nearest integer (halves up), and at least one pair is kept.
    min_margin: for levels `teacher_margins`, the smallest difference of the teacher's scores of a pair, in standard
        deviations of its scores of the list, 0 or more; equal scores are never a pair.
    zone_weight: alpha >= 0; a pair with a passage in the middle zone has weight 1 + alpha, any other pair 1.
    """

    mining: Annotated[str, one_of(PairMining)] = "hard"
    levels: Annotated[str, one_of(PairLevels)] = "adjacent"
    fraction: Annotated[float, Gt(0), Le(1)] = 0.5
    min_margin: Annotated[float, Ge(0)] = 0.5
    zone_weight: Annotated[float, Ge(0)] = 1.0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Preference pairs as context positions: `better[p]` has a higher grade, or teacher's score, than `worse[p]`.

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


def standardised(scores: Float[Tensor, " docs"]) -> Float[Tensor, " docs"]:
    """Return the scores of a list with mean 0 and (population) standard deviation 1; zeros if all are equal."""
    if not len(scores) or bool(scores.amax() == scores.amin()):
        return torch.zeros_like(scores)
    centred = scores - scores.mean()
    centred = centred / centred.abs().amax()  # their squares could overflow
    return centred / centred.std(correction=0)


@torch.no_grad()
def mine_pairs(
    z: Float[Tensor, " docs"],
    grades: Int[Tensor, " docs"],
    settings: PairSettings,
    *,
    targets: Float[Tensor, " docs"] | None = None,
    generator: torch.Generator | None = None,
) -> Pairs:
    """Choose the preference pairs of a list.

    The margin of a pair (ours) is z_i - z_j, with i the better passage. A smaller margin is harder; it is negative if
    the model ranks the pair wrongly. Of pairs with equal margins, the one whose better, then worse passage comes first
    in the context is kept first.

    Args:
        z: [docs], passage scores in context order.
        grades: [docs], 0 or more, in context order.
        settings: how pairs are chosen and weighted.
        targets: [docs], the teacher's scores in context order, for levels `teacher_margins`; None: no teacher.
        generator: draws random pairs, on its device; None: torch's global generator.

    Returns:
        The pairs, sorted by (better, worse), with weights in the dtype of z; empty if all grades are equal.

    Raises:
        ValueError: z is NaN or infinite, a grade is negative, or the lengths differ.
    """
    check_list(z, grades)
    levels, level = grades.unique(return_inverse=True)  # sorted; level numbers those present from 0
    gap = level[:, None] - level[None, :]
    eligible = gap > 0 if settings.levels == PairLevels.ALL else gap == 1
    if settings.levels == PairLevels.TEACHER_MARGINS and targets is not None:
        t = standardised(targets)
        margin = t[:, None] - t[None, :]
        eligible = (margin > 0) & (margin >= settings.min_margin)
        level = torch.zeros_like(level)  # one group
    better, worse = eligible.nonzero(as_tuple=True)
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
