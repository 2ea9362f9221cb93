"""Compute passage scores z from head scores: length normalisation, calibration by the null query, sum over heads.

Pure, differentiable functions of tensors in fp32. s_h(i|q) is a head's attention mass on passage i under the query,
s_h(i|n) under the null query; w_h is the head's weight; l_i is the passage's length divisor (1, its number of tokens,
or the square root of it). `eps` is an attention mass, so it is added before the division by l_i; added afterwards it
would outweigh the masses of long passages. The definitions are this project's own unless a source is named.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headrank.model.head_scores import HeadScores, TokenScores
from headrank.settings import Ge, Gt, one_of_or_object, settings, wrong

EPS = 1e-6  # attention mass; fp32 softmax rows are exact to about 1e-7, so ratios of smaller masses are noise

CALIBRATIONS = ("none", "residual", "log_ratio")
"""The calibrations that have a name, see `head_calibrated`."""


@runtime_checkable
class Calibration(Protocol):
    """The interface of a custom calibration of head scores.

    Implement it as a frozen dataclass, and give an instance as `ScorerSettings.calibration`. `name` is its name in
    messages.
    """

    name: str
    needs_null: bool  # whether it uses the null query's scores

    def __call__(
        self,
        query: Float[Tensor, "heads docs"],
        null: Float[Tensor, "heads docs"] | None,
        divisor: Float[Tensor, " docs"],
        eps: float,
    ) -> Float[Tensor, "heads docs"]:
        """Calibrate the scores of each head. Must be differentiable.

        Args:
            query: s_h(i|q), the attention mass on each passage under the query, fp32.
            null: s_h(i|n), the same under the null query; None if it was not read.
            divisor: l_i, the length divisor of each passage, fp32.
            eps: a small attention mass, which avoids division by zero.

        Returns:
            [heads, docs], the calibrated scores.
        """
        ...


@runtime_checkable
class LengthNorm(Protocol):
    """The interface of a custom length normalisation.

    Implement it as a frozen dataclass, and give an instance as `ScorerSettings.length_norm`. `name` is its name in
    messages.
    """

    name: str

    def __call__(self, lengths: Int[Tensor, " docs"]) -> Float[Tensor, " docs"]:
        """Return the divisor l_i > 0 of each passage, given its number of tokens (at least 1)."""
        ...


LENGTH_NORMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "none": lambda lengths: torch.ones_like(lengths, dtype=torch.float32),
    "tokens": lambda lengths: lengths.float(),
    "sqrt_tokens": lambda lengths: lengths.float().sqrt(),
}
"""The length normalisations that have a name."""


@settings
class CalibrationSettings:
    """The settings of the computation of passage scores from head scores. The defaults are this project's."""

    calibration: Annotated[str | Calibration, one_of_or_object(CALIBRATIONS, Calibration)] = "residual"
    power: Annotated[float, Ge(0)] = 0.5  # of the null query's score, for calibration residual
    token_filter: bool = False  # ICR's filter of outlying tokens, with calibration residual and power 0
    length_norm: Annotated[str | LengthNorm, one_of_or_object(LENGTH_NORMS, LengthNorm)] = "none"
    eps: Annotated[float, Gt(0)] = EPS  # attention mass

    def __post_init__(self) -> None:
        if self.token_filter and (self.calibration != "residual" or self.power != 0):
            raise wrong("token_filter", True, "false, or calibration: residual and power: 0")

    @property
    def needs_null(self) -> bool:
        """Whether the calibration uses attention under the null query, which must then be read too."""
        return self.calibration != "none" if isinstance(self.calibration, str) else self.calibration.needs_null


def head_calibrated(scores: HeadScores, settings: CalibrationSettings) -> Float[Tensor, "heads docs"]:
    """Return the calibrated scores c_h(i) of each head.

    Head criteria use them. `passage_scores` adds them up for `residual` and custom calibrations, averages them for
    `log_ratio`, and does not use them for `none`. l_i is the length divisor of passage i (`settings.length_norm`), eps
    a small attention mass (`settings.eps`).

    - `none`: s_h(i|q) / l_i.
    - `residual`: (s_h(i|q) - s_h(i|n)) / l_i / ((eps + s_h(i|n)) / l_i)^power; power 0 is the subtraction of ICR
      (arXiv 2410.02642), QRHead and CoRe, .5 the Pearson residual of a count, 1 the relative change.
    - `log_ratio`: log((eps + s_h(i|q)) / (eps + s_h(i|n))); the lengths cancel.
    - a custom `Calibration`: its result.

    Args:
        scores: the head scores of one candidate list.
        settings: the calibration. The token filter is not applied, because it needs scores per token.

    Returns:
        [heads, docs], passages in the order of `scores`.

    Raises:
        ValueError: if the null query's scores are needed but missing, a custom calibration returns another shape, NaN
            or infinity, or a custom length normalisation returns anything but finite numbers above 0.
    """
    kind, eps = settings.calibration, settings.eps
    divisor = length_divisor(scores.lengths, settings.length_norm).to(scores.query.device)
    query, null = scores.query.float(), None if scores.null is None else scores.null.float()
    if kind == "none":
        return query / divisor
    if settings.needs_null and null is None:
        name = kind if isinstance(kind, str) else kind.name
        raise ValueError(f"calibration {name} needs the null query's scores, which were not read")
    if not isinstance(kind, str):
        calibrated = kind(query, null, divisor, eps)
        if calibrated.shape != query.shape:
            raise ValueError(
                f"calibration {kind.name} returned the shape {tuple(calibrated.shape)}, expected {tuple(query.shape)}: "
                "heads and passages"
            )
        if query.isfinite().all() and not calibrated.isfinite().all():
            raise ValueError(f"calibration {kind.name} returned NaN or infinity; expected finite scores")
        return calibrated
    assert null is not None
    if kind == "log_ratio":
        return torch.log(eps + query) - torch.log(eps + null)
    return head_residuals(query, null, divisor, settings.power, eps)


def passage_scores(
    scores: HeadScores, settings: CalibrationSettings, weights: Float[Tensor, " heads"] | None = None
) -> Float[Tensor, " docs"]:
    """Return the score z of every passage.

    - `none`: log((eps + sum_h w_h s_h(i|q)) / l_i).
    - any other: sum_h w_h c_h(i), with c_h of `head_calibrated`; `log_ratio` divides by sum_h w_h.

    The token filter (residual with power 0 only) first drops outlying tokens, see `filtered_residual`.

    Args:
        scores: the head scores of one list.
        settings: the calibration.
        weights: w_h, one per head; None: 1 each.

    Returns:
        [docs], passages in the order of `scores`.

    Raises:
        ValueError: if the null query's scores or the token scores are needed but missing.
    """
    heads, device = scores.query.shape[0], scores.query.device
    w = torch.ones(heads, device=device) if weights is None else weights.to(device).float()
    if settings.token_filter:
        if scores.tokens is None:
            raise ValueError("token_filter needs head scores read per token")
        divisor = length_divisor(scores.lengths, settings.length_norm).to(device)
        return filtered_residual(scores.tokens, w, len(scores.lengths)) / divisor
    if settings.calibration == "none":
        divisor = length_divisor(scores.lengths, settings.length_norm).to(device)
        return torch.log((settings.eps + w @ scores.query.float()) / divisor)
    z = w @ head_calibrated(scores, settings)
    return z / w.sum() if settings.calibration == "log_ratio" else z


def head_residuals(
    query: Float[Tensor, "heads docs"],
    null: Float[Tensor, "heads docs"],
    divisor: Float[Tensor, " docs"],
    power: float,
    eps: float = EPS,
) -> Float[Tensor, "heads docs"]:
    """Return the calibration `residual` of `head_calibrated`: [heads, docs].

    Args:
        query: s_h(i|q).
        null: s_h(i|n).
        divisor: l_i.
        power: the exponent of the null query's score; 0: the difference is divided by the length alone.
        eps: attention mass added to s_h(i|n) before the division.
    """
    return scale_residual(query - null, null, divisor, power, eps)


def scale_residual(difference: Tensor, null: Tensor, divisor: Tensor, power: float, eps: float) -> Tensor:
    """Scale a difference of attention masses as `residual` does. Linear in the difference; shapes broadcast.

    Args:
        difference: s_h(i|q) - s_h(i|n), or a part of it, such as that of one token.
        null: s_h(i|n), the whole passage's.
        divisor: l_i.
        power: as in `head_residuals`.
        eps: as in `head_residuals`.
    """
    scaled = difference / divisor
    return scaled if power == 0 else scaled / ((eps + null) / divisor) ** power


def filtered_residual(tokens: TokenScores, weights: Float[Tensor, " heads"], passages: int) -> Float[Tensor, " docs"]:
    """Return ICR's passage scores: the sum of token scores, without the tokens with unusually low scores.

    The score of a token t is sum_h w_h (s_h(t|q) - s_h(t|n)). `filter_tokens` drops the low ones and sums the rest per
    passage. Unusually high scores are kept. The result is not divided by the passages' lengths.

    Args:
        tokens: the head scores per token.
        weights: w_h, the weight of each head.
        passages: the number of passages.

    Raises:
        ValueError: the null query's scores were not read.
    """
    if tokens.null is None:
        raise ValueError("token_filter needs the null query's scores, which were not read")
    return filter_tokens((weights @ (tokens.query - tokens.null))[None], tokens.passage, passages)[0]


def filter_tokens(
    x: Float[Tensor, "rows tokens"], passage: Int[Tensor, " tokens"], passages: int
) -> Float[Tensor, "rows docs"]:
    """Sum token scores per passage, without the outlying tokens of `kept_tokens`.

    Args:
        x: calibrated token scores; each row is filtered separately.
        passage: the index of each token's passage.
        passages: the number of passages.

    Returns:
        [rows, docs]; 0 for a passage without tokens.
    """
    return sum_by_passage(x * kept_tokens(x, passage, passages), passage, passages)


def kept_tokens(
    x: Float[Tensor, "rows tokens"], passage: Int[Tensor, " tokens"], passages: int
) -> Bool[Tensor, "rows tokens"]:
    """Which tokens ICR's filter keeps: those above mean - 2 standard deviations of their passage.

    The standard deviation divides by n - 1, as in ICR's code. If a passage has no spread (one token, or equal tokens),
    every token is kept. ICR's code gives such a passage 0, because its standard deviation is NaN or its comparison is
    strict. The arguments are those of `filter_tokens`.
    """
    passage = passage.to(x.device)
    count = torch.bincount(passage, minlength=passages).float()
    mean = sum_by_passage(x, passage, passages) / count.clamp(min=1)
    variance = sum_by_passage((x - mean[:, passage]) ** 2, passage, passages) / (count - 1).clamp(min=1)
    std = variance.sqrt()
    flat = std <= torch.finfo(torch.float32).eps * mean.abs()  # a spread below fp32's resolution counts as none
    return (x > (mean - 2 * std)[:, passage]) | flat[:, passage]


def sum_by_passage(
    x: Float[Tensor, "rows tokens"], passage: Int[Tensor, " tokens"], passages: int
) -> Float[Tensor, "rows docs"]:
    """Sum token scores per passage; 0 for a passage without tokens. The arguments are those of `filter_tokens`."""
    return torch.zeros(len(x), passages, device=x.device, dtype=x.dtype).index_add_(1, passage.to(x.device), x)


def length_divisor(lengths: Int[Tensor, " docs"], norm: str | LengthNorm) -> Float[Tensor, " docs"]:
    """Return the divisor l_i of each passage under the normalisation `norm`. A passage of 0 tokens counts as 1 token.

    Raises `ValueError` if a custom normalisation returns anything but one finite number above 0 per passage.
    """
    if isinstance(norm, str):
        return LENGTH_NORMS[norm](lengths.clamp(min=1))
    divisor = norm(lengths.clamp(min=1))
    if divisor.shape != lengths.shape or not (divisor.isfinite() & (divisor > 0)).all():
        raise ValueError(
            f"length_norm {norm.name} returned {divisor.tolist()!s:.80}; expected {len(lengths)} finite numbers above 0"
        )
    return divisor
