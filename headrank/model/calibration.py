"""From head scores to passage scores z: length normalisation, calibration by the null query, the sum over heads.

Pure, differentiable functions of tensors in fp32. s_h(i|q) is a head's attention mass on passage i under the query,
s_h(i|n) under the null query; w_h is the head's weight; l_i is the passage's length divisor (1, its number of tokens,
or the square root of it). `eps` is an attention mass, so it is added before the division by l_i; added afterwards it
would outweigh the masses of long passages. The definitions are this project's own unless a source is named.
"""

from enum import StrEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headrank.model.head_scores import HeadScores, TokenScores

EPS = 1e-6  # attention mass; fp32 softmax rows are exact to about 1e-7, so ratios of smaller masses are noise


class Calibration(StrEnum):
    """How the null query's scores calibrate the query's."""

    NONE = "none"
    RESIDUAL = "residual"
    LOG_RATIO = "log_ratio"


class LengthNorm(StrEnum):
    """The divisor of a head score: none, the passage's number of tokens, or its square root."""

    NONE = "none"
    TOKENS = "tokens"
    SQRT_TOKENS = "sqrt_tokens"


def passage_scores(
    scores: HeadScores,
    *,
    calibration: Calibration = Calibration.RESIDUAL,
    power: float = 0.5,
    token_filter: bool = False,
    length_norm: LengthNorm = LengthNorm.NONE,
    weights: Float[Tensor, " heads"] | None = None,
    eps: float = EPS,
) -> Float[Tensor, " docs"]:
    """The score z of every passage.

    - `none`: log((eps + sum_h w_h s_h(i|q)) / l_i).
    - `residual` and `log_ratio`: sum_h w_h c_h(i), with c_h of `head_calibrated`; `log_ratio` divides by sum_h w_h.

    `token_filter` (residual with power 0 only) first drops outlying tokens, see `filtered_residual`.
    Raises `ValueError` if the null query's scores are needed but missing, and for unsupported combinations.
    """
    heads = scores.query.shape[0]
    w = torch.ones(heads, device=scores.query.device) if weights is None else weights.to(scores.query.device).float()
    divisor = length_divisor(scores.lengths, length_norm).to(scores.query.device)
    if token_filter:
        if calibration != Calibration.RESIDUAL or power != 0:
            raise ValueError(f"token_filter goes with calibration residual and power 0, not {calibration} and {power}")
        if scores.tokens is None:
            raise ValueError("token_filter needs head scores read per token")
        return filtered_residual(scores.tokens, w, len(scores.lengths)) / divisor
    if calibration == Calibration.NONE:
        return torch.log((eps + w @ scores.query.float()) / divisor)
    z = w @ head_calibrated(scores, calibration=calibration, power=power, length_norm=length_norm, eps=eps)
    return z / w.sum() if calibration == Calibration.LOG_RATIO else z


def head_calibrated(
    scores: HeadScores,
    *,
    calibration: Calibration = Calibration.RESIDUAL,
    power: float = 0.5,
    length_norm: LengthNorm = LengthNorm.NONE,
    eps: float = EPS,
) -> Float[Tensor, "heads docs"]:
    """The calibrated scores c_h(i) of each head. Head criteria use them, and `passage_scores` sums them.

    - `none`: s_h(i|q) / l_i.
    - `residual`: (s_h(i|q) - s_h(i|n)) / l_i / ((eps + s_h(i|n)) / l_i)^power; power 0 is the subtraction of ICR
      (arXiv 2410.02642), QRHead and CoRe, .5 the Pearson residual of a count, 1 the relative change.
    - `log_ratio`: log((eps + s_h(i|q)) / (eps + s_h(i|n))); the lengths cancel.

    Raises `ValueError` if the null query's scores are needed but missing.
    """
    divisor = length_divisor(scores.lengths, length_norm).to(scores.query.device)
    query = scores.query.float()
    if calibration == Calibration.NONE:
        return query / divisor
    if scores.null is None:
        raise ValueError(f"calibration {calibration} needs the null query's scores, which were not read")
    null = scores.null.float()
    if calibration == Calibration.LOG_RATIO:
        return torch.log(eps + query) - torch.log(eps + null)
    return head_residuals(query, null, divisor, power, eps)


def head_residuals(
    query: Float[Tensor, "heads docs"],
    null: Float[Tensor, "heads docs"],
    divisor: Float[Tensor, " docs"],
    power: float,
    eps: float = EPS,
) -> Float[Tensor, "heads docs"]:
    """The `residual` of `head_calibrated`; power 0 divides by the length alone."""
    difference = (query - null) / divisor
    return difference if power == 0 else difference / ((eps + null) / divisor) ** power


def filtered_residual(tokens: TokenScores, weights: Float[Tensor, " heads"], passages: int) -> Float[Tensor, " docs"]:
    """ICR's score: calibrated token scores summed over heads, without outlying tokens, summed per passage."""
    if tokens.null is None:
        raise ValueError("token_filter needs the null query's scores, which were not read")
    return filter_tokens((weights @ (tokens.query - tokens.null))[None], tokens.passage, passages)[0]


def filter_tokens(
    x: Float[Tensor, "rows tokens"], passage: Int[Tensor, " tokens"], passages: int
) -> Float[Tensor, "rows docs"]:
    """Calibrated token scores summed per passage, without the tokens at or below mean - 2 std of their passage.

    The standard deviation divides by n - 1, as in ICR's code. If a passage has no spread (one token, or equal tokens),
    every token stays. ICR's code gives such a passage 0, because its std is NaN or its comparison is strict.
    """
    passage = passage.to(x.device)

    def total(values: Float[Tensor, "rows tokens"]) -> Float[Tensor, "rows docs"]:
        return torch.zeros(len(x), passages, device=x.device).index_add_(1, passage, values)

    count = torch.bincount(passage, minlength=passages).float()
    mean = total(x) / count.clamp(min=1)
    variance = total((x - mean[:, passage]) ** 2) / (count - 1).clamp(min=1)
    std = variance.sqrt()
    flat = std <= torch.finfo(torch.float32).eps * mean.abs()  # a spread below fp32's resolution counts as none
    keep = (x > (mean - 2 * std)[:, passage]) | flat[:, passage]
    return total(x * keep)


def length_divisor(lengths: Int[Tensor, " docs"], norm: LengthNorm) -> Float[Tensor, " docs"]:
    """The divisor of head scores, for at least 1 token."""
    tokens = lengths.clamp(min=1).float()
    if norm == LengthNorm.TOKENS:
        return tokens
    return tokens.sqrt() if norm == LengthNorm.SQRT_TOKENS else torch.ones_like(tokens)
