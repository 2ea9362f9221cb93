"""Calibrate probabilities of relevance: map a passage score z to P(relevant), fitted on labelled lists.

z orders the passages of a list, but its unit depends on heads, weights, prompt and the calibration of head scores. A
fit is valid for lists like those that it was fitted on: other collections have another share of relevant passages, and
longer lists divide attention among more passages.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from headrank.heads.cross_fitting import PROTOCOLS


@dataclass(frozen=True, slots=True)
class ProbabilityCalibration:
    """P(relevant | z) = 1 / (1 + exp(-(slope asinh(z / scale) + intercept))), with slope >= 0.

    This is Platt scaling (Platt 1999) of asinh(z / scale). The scale is the median of |z| or, if that is 0, the mean.
    The asinh is ours. It is linear around 0 and logarithmic far from it. Without it, the few passages with very large
    |z| would flatten the slope for all. Isotonic regression, which assumes no form, was better on some collections and
    worse on others (experiments/calibration), and it gives equal probabilities to different z. As slope >= 0,
    probabilities never contradict the ranking.

    slope, intercept, scale: the parameters of the formula.
    thresholds: data set -> the lowest grade that was counted as relevant.
    lists, passages, relevant: the numbers of lists, passages and relevant passages of the fit.
    protocol: how the scores of the fit were computed, one of `PROTOCOLS`.

    Raises:
        ValueError: a value has a wrong type or is out of range.
    """

    slope: float
    intercept: float
    scale: float
    thresholds: Mapping[str, int]
    lists: int
    passages: int
    relevant: int
    protocol: str

    def __post_init__(self) -> None:
        for name in ("slope", "intercept", "scale"):
            value = getattr(self, name)
            if not _is_number(value) or not math.isfinite(value):
                raise ValueError(f"probability.{name} is {value!r}; expected a finite number")
        if self.slope < 0 or self.scale <= 0:
            raise ValueError(f"probability has slope {self.slope}, scale {self.scale}; expected slope >= 0, scale > 0")
        counts = {name: getattr(self, name) for name in ("lists", "passages", "relevant")}
        if not all(map(_is_whole, counts.values())) or not 0 < self.lists <= self.passages > self.relevant > 0:
            raise ValueError(f"probability has {counts}; expected whole numbers, and relevant and irrelevant passages")
        grades = self.thresholds
        if not isinstance(grades, Mapping) or not grades or not all(_is_whole(g) and g > 0 for g in grades.values()):
            raise ValueError(f"probability.thresholds is {grades!r}; expected data set names with a grade from 1")
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"probability.protocol is {self.protocol!r}; expected one of {', '.join(PROTOCOLS)}")

    def __call__(self, z: Iterable[float]) -> tuple[float, ...]:
        """Return the probability of relevance, in [0, 1], for each score z."""
        return tuple(_logistic(self.slope * math.asinh(value / self.scale) + self.intercept) for value in z)

    @property
    def origin(self) -> str:
        """A text that describes the fit: data sets with thresholds, number of lists and passages, and protocol."""
        names = " + ".join(f"{name} (grade {grade} or more)" for name, grade in self.thresholds.items())
        counts = f"{self.lists} lists, {self.passages} passages, {self.relevant} relevant"
        return f"{names}: {counts}; {PROTOCOLS[self.protocol]}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values for JSON."""
        return {**asdict(self), "thresholds": dict(self.thresholds)}

    @classmethod
    def from_dict(cls, content: Any) -> "ProbabilityCalibration":
        """Create a calibration from the result of `to_dict`.

        Raises `ValueError` for missing, unknown or wrong values.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(content, dict) or content.keys() != names:
            found = sorted(content) if isinstance(content, dict) else content
            raise ValueError(f"probability has {str(found)[:80]}; expected the keys {', '.join(sorted(names))}")
        return cls(**content)

    @classmethod
    def fit(
        cls, lists: Sequence[tuple[Sequence[float], Sequence[bool]]], thresholds: Mapping[str, int], *, protocol: str
    ) -> "ProbabilityCalibration | None":
        """Fit the calibration on labelled lists.

        Args:
            lists: for each list, the scores z of its passages, and whether each is relevant.
            thresholds: data set -> the lowest grade that counts as relevant; only stored in the result.
            protocol: how the scores were computed, one of `PROTOCOLS`.

        Returns:
            The calibration; None if all passages are relevant or none is.

        Raises:
            ValueError: a z is not finite.
        """
        z = np.array([value for scores, _ in lists for value in scores], dtype=np.float64)
        relevant = np.array([value for _, labels in lists for value in labels], dtype=bool)
        if not relevant.any() or relevant.all():
            return None
        if not np.isfinite(z).all():
            raise ValueError(f"z has {int((~np.isfinite(z)).sum())} values that are not finite")
        scale = float(np.median(np.abs(z))) or float(np.abs(z).mean()) or 1.0
        slope, intercept = fit_platt(np.arcsinh(z / scale), relevant)
        counts = {"lists": len(lists), "passages": len(z), "relevant": int(relevant.sum())}
        return cls(slope, intercept, scale, dict(thresholds), **counts, protocol=protocol)


def fit_platt(x: np.ndarray, relevant: np.ndarray) -> tuple[float, float]:
    """Fit Platt scaling by maximum likelihood, with slope >= 0.

    The targets are Platt's: (n+ + 1) / (n+ + 2) for the n+ relevant passages and 1 / (n- + 2) for the n- others. With
    these targets the fit is finite even if x separates the two groups. Every passage has the same weight.

    Args:
        x: [passages], finite.
        relevant: [passages], booleans; both values occur.

    Returns:
        Slope and intercept.
    """
    from scipy.optimize import minimize  # lazy: the import takes a fraction of a second, and loading needs none

    positive, negative = int(relevant.sum()), int((~relevant).sum())
    target = np.where(relevant, (positive + 1) / (positive + 2), 1 / (negative + 2))
    centre, spread = float(x.mean()), float(x.std()) or 1.0
    standard = (x - centre) / spread  # for the optimizer

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        t = parameters[0] * standard + parameters[1]
        error = np.exp(-np.logaddexp(0, -t)) - target
        return float((np.logaddexp(0, t) - target * t).mean()), np.array([(error * standard).mean(), error.mean()])

    found = minimize(
        loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)],
        options={"ftol": 1e-12, "gtol": 1e-9},
    )  # fmt: skip
    slope = float(found.x[0]) / spread
    return slope, float(found.x[1]) - slope * centre


def _logistic(t: float) -> float:
    return 1 / (1 + math.exp(-t)) if t >= 0 else (e := math.exp(t)) / (1 + e)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
