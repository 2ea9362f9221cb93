"""Fit the weight of the first stage's rank (`scorer.fusion: auto`) on labelled lists. [ours]"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch

from headrank.heads.cross_fitting import PROTOCOLS, ScoredLabels
from headrank.heads.measures import ndcg
from headrank.heads.probability import ProbabilityCalibration
from headrank.model.fusion import fuse_first_stage

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""The weights that are compared."""
MIN_LISTS = 20
"""The number of lists from which a weight is fitted: on fewer, the best of several weights is mostly chance."""


@dataclass(frozen=True, slots=True)
class FusionFit:
    """A fitted fusion weight and its evidence: mean nDCG@10 over labelled lists, with the ideal order within each list.

    weight: the weight of the first stage's standardised rank in `fuse_first_stage`; 0: fusion does not help.
    curve: (weight, nDCG@10) of each weight that was compared.
    first_stage: nDCG@10 of the first stage's own order.
    lists: the number of lists.
    protocol: how the scores were computed, one of `PROTOCOLS`.
    probability: P(relevant) of the fused scores; None if it was not fitted.

    Raises `ValueError` for values of a wrong type or out of range.
    """

    weight: float
    curve: tuple[tuple[float, float], ...]
    first_stage: float
    lists: int
    protocol: str
    probability: ProbabilityCalibration | None = None

    def __post_init__(self) -> None:
        numbers = [self.weight, self.first_stage, *(value for point in self.curve for value in point)]
        if not all(isinstance(x, int | float) and math.isfinite(x) and x >= 0 for x in numbers):
            raise ValueError(f"fusion has the numbers {numbers}; expected finite numbers of at least 0")
        if self.weight not in dict(self.curve) or 0 not in dict(self.curve):
            raise ValueError(f"fusion has the weight {self.weight} and the curve {self.curve}; expected 0 and it there")
        if self.protocol not in PROTOCOLS or not isinstance(self.lists, int) or self.lists < 1:
            raise ValueError(
                f"fusion has protocol {self.protocol!r} and {self.lists} lists; expected one of {', '.join(PROTOCOLS)}"
            )

    @property
    def summary(self) -> str:
        """A text with the weight, its nDCG@10, that without fusion and that of the first stage."""
        curve = dict(self.curve)
        return (
            f"weight {self.weight:g}, from {self.lists} labelled lists ({PROTOCOLS[self.protocol]}): nDCG@10 "
            f"{curve[0.0]:.4f} without fusion, {curve[self.weight]:.4f} with this weight, first stage "
            f"{self.first_stage:.4f}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values for JSON."""
        return asdict(self) | {"probability": None if self.probability is None else self.probability.to_dict()}

    @classmethod
    def from_dict(cls, content: Any) -> "FusionFit":
        """Create a fit from the result of `to_dict`. Raises `ValueError` for missing, unknown or wrong values."""
        names = {field.name for field in fields(cls)}
        if not isinstance(content, dict) or content.keys() != names:
            found = sorted(content) if isinstance(content, dict) else str(content)[:80]
            raise ValueError(f"fusion has {found}; expected the keys {', '.join(sorted(names))}")
        fitted = content["probability"]
        probability = None if fitted is None else ProbabilityCalibration.from_dict(fitted)
        curve = tuple((float(weight), float(value)) for weight, value in content["curve"])
        return cls(**{**content, "curve": curve, "probability": probability})

    def with_probability(
        self, lists: Sequence[ScoredLabels], thresholds: Mapping[str, int], protocol: str
    ) -> "FusionFit":
        """Return the fit with the probability calibration of the fused scores of `lists`.

        thresholds, protocol: see `ProbabilityCalibration.fit`.
        """
        fused = [(_fused(one, self.weight).tolist(), one.relevant) for one in lists]
        return replace(self, probability=ProbabilityCalibration.fit(fused, thresholds, protocol=protocol))


def fit_fusion(lists: Sequence[ScoredLabels], protocol: str) -> FusionFit | None:
    """Fit the fusion weight on the scores of labelled lists.

    The weight with the highest mean nDCG@10 is chosen; ties go to the smaller one. It is 0 unless the gain over no
    fusion exceeds its standard error over the lists, since the best of several weights gains something by chance.

    Args:
        lists: the scored lists; lists of a single grade have no part in it.
        protocol: how the scores were computed, one of `PROTOCOLS`.

    Returns:
        The fit, without probabilities; None if fewer than `MIN_LISTS` lists have two grades.
    """
    used = [one for one in lists if len(set(one.grades)) > 1]
    if len(used) < MIN_LISTS:
        return None
    grades = [torch.tensor(list(one.grades)) for one in used]
    values = torch.tensor(
        [[_ndcg(_fused(one, weight), y) for one, y in zip(used, grades, strict=True)] for weight in WEIGHTS]
    )
    means = values.mean(1)
    best = int(means.argmax())
    gain = values[best] - values[0]
    if not gain.mean() > gain.std() / math.sqrt(len(used)):
        best = 0
    first = torch.tensor([_ndcg(-torch.arange(len(y), dtype=torch.float32), y) for y in grades])
    curve = tuple(zip(WEIGHTS, means.tolist(), strict=True))
    return FusionFit(WEIGHTS[best], curve, float(first.mean()), len(used), protocol)


def _fused(one: ScoredLabels, weight: float) -> torch.Tensor:
    z = torch.tensor(list(one.z), dtype=torch.float32)
    return fuse_first_stage(z, weight) if weight else z


def _ndcg(scores: torch.Tensor, grades: torch.Tensor) -> float:
    return float(ndcg(scores[None], grades)[0])
