"""Fuse passage scores with the first stage's ranking. [ours]"""

from typing import Annotated, Any, TypeAlias

import torch
from jaxtyping import Float
from pydantic import PlainValidator
from torch import Tensor

from headrank.settings import wrong

AUTO = "auto"
"""The fusion weight that head selection fits on the labelled lists (`headrank.heads.fusion`)."""


def _check_weight(value: Any) -> float | str:
    if value == AUTO:
        return AUTO
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise wrong("", value, f"a finite number of at least 0, or {AUTO}")
    return float(value)


FusionWeight: TypeAlias = Annotated[float | str, PlainValidator(_check_weight)]
"""The weight of the first stage's rank: a number from 0 (no fusion), or `AUTO`."""


def fuse_first_stage(z: Float[Tensor, " docs"], weight: float) -> Float[Tensor, " docs"]:
    """Return standardised z + weight x standardised -log(1 + rank), with the first stage's ranks, which start at 1.

    Both are standardised over the candidate list, and are 0 if all values are equal. Fusion by the first stage's scores
    and reciprocal rank fusion differ from this form by chance (experiments/fusion).

    z: [docs], in first-stage order.
    """
    ranks = torch.arange(1, len(z) + 1, dtype=torch.float32)
    return _standardise(z) + weight * _standardise(-torch.log1p(ranks))


def _standardise(values: Float[Tensor, " docs"]) -> Float[Tensor, " docs"]:
    std = standard_deviation(values)
    return torch.zeros_like(values) if std == 0 else (values - values.mean()) / std


def standard_deviation(values: Float[Tensor, " docs"]) -> Float[Tensor, ""]:
    """Return the population's standard deviation, by which `fuse_first_stage` divides."""
    return (values - values.mean()).square().mean().sqrt()
