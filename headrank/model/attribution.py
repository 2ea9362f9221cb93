"""From head scores per token to contributions: what each passage token and each query token adds to a passage's score.

With x_t the part of token t in a head's attention to passage i and c_h(i) the calibrated score of the head (see
`head_calibrated`), a token contributes w_h times

- `residual`, of any power: (s_h(t|q) - s_h(t|n)) / l_i / ((eps + s_h(i|n)) / l_i)^power. c_h(i) is linear in the masses
  under the query, so this adds up to it. Tokens that the token filter drops contribute 0.
- `log_ratio`: (s_h(t|q) - s_h(t|n)) / L(eps + s_h(i|q), eps + s_h(i|n)), divided by sum_h w_h as the score is. L is the
  logarithmic mean (a - b) / (ln a - ln b): LMDI-I, the additive decomposition of a change of logarithms without a rest
  (Ang 2005, "The LMDI approach to decomposition analysis: a practical guide", Energy Policy 33). Adds up to c_h(i).
- `none`: s_h(t|q) / l_i. The score is the logarithm of a sum and no sum itself: this adds up to exp(z) - eps / l_i.
- an object: a share of c_h(i) in proportion to the token's attention under the query, s_h(t|q) / s_h(i|q).

A row r of the R rows that are read (the query's tokens) contributes the same with s_h(i|r) / R in place of s_h(t|q) and
s_h(i|n) / R in place of s_h(t|n). All is computed in fp64 from the fp32 readings.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headrank.model.calibration import (
    CalibrationSettings,
    head_calibrated,
    kept_tokens,
    length_divisor,
    scale_residual,
)
from headrank.model.head_scores import HeadScores

ADDS_UP_TO = {"none": "attention", "residual": "score", "log_ratio": "score"}
"""What the contributions of a passage add up to, by the calibration's name: its score, or for `none` the weighted
attention mass, divided by l_i."""
SHARES = "score_shares"
"""The same for an object: the score, spread over the tokens in proportion to their attention."""

_Spread: TypeAlias = Callable[[Tensor, Tensor | None, Int[Tensor, " parts"]], Tensor]
"""(a part's attention under the query, under the null query, its passage) -> its contribution; [heads, parts] each."""


def adds_up_to(settings: CalibrationSettings) -> str:
    """What contributions add up to with this calibration, see `ADDS_UP_TO` and `SHARES`."""
    kind = settings.calibration
    return ADDS_UP_TO[kind] if isinstance(kind, str) else SHARES


def attribute_tokens(
    scores: HeadScores, settings: CalibrationSettings, weights: Float[Tensor, " heads"] | None = None
) -> Float[Tensor, "heads tokens"]:
    """The contribution of every passage token, by head.

    Args:
        scores: the head scores of one list, read per token.
        settings: the calibration.
        weights: w_h, one per head; None: 1 each.

    Returns:
        [heads, tokens], fp64, tokens in the order of `scores.tokens`.

    Raises:
        ValueError: the token scores or the null query's scores are needed but missing.
    """
    tokens = scores.tokens
    if tokens is None:
        raise ValueError("contributions need head scores read per token")
    passage = tokens.passage.to(tokens.query.device)
    null = None if tokens.null is None else tokens.null.double()
    w = _weights(scores, settings, weights)
    contributions = w[:, None] * _spread(scores, settings)(tokens.query.double(), null, passage)
    if settings.token_filter:
        assert tokens.null is not None
        difference = w.float() @ (tokens.query - tokens.null)  # as `filtered_residual` computes it
        contributions = contributions * kept_tokens(difference[None], passage, len(scores.lengths))
    return contributions


def attribute_rows(
    scores: HeadScores, settings: CalibrationSettings, weights: Float[Tensor, " heads"] | None = None
) -> Float[Tensor, "rows docs"]:
    """The contribution of every row (query token) to every passage's score, summed over the heads.

    The rows of a passage add up to the same sum as its tokens. With the token filter the tokens that it drops count.

    Args:
        scores: the head scores of one list, read per row.
        settings: the calibration.
        weights: w_h, one per head; None: 1 each.

    Returns:
        [rows, docs], fp64, passages in the order of `scores`.

    Raises:
        ValueError: the scores of the rows or of the null query are needed but missing.
    """
    if scores.rows is None:
        raise ValueError("contributions of the query need head scores read per row")
    rows, heads, docs = scores.rows.shape
    query = scores.rows.double().transpose(0, 1).reshape(heads, rows * docs) / rows
    null = None if scores.null is None else scores.null.double().repeat(1, rows) / rows
    passage = torch.arange(docs, device=query.device).repeat(rows)
    return (_weights(scores, settings, weights) @ _spread(scores, settings)(query, null, passage)).view(rows, docs)


def _weights(scores: HeadScores, settings: CalibrationSettings, weights: Tensor | None) -> Float[Tensor, " heads"]:
    """The factor of each head's contributions: its weight, divided by the sum of the weights for `log_ratio`."""
    device = scores.query.device
    w = torch.ones(len(scores.heads), device=device) if weights is None else weights.to(device)
    return w.double() / (w.double().sum() if settings.calibration == "log_ratio" else 1)


def _spread(scores: HeadScores, settings: CalibrationSettings) -> _Spread:
    """The function that spreads the calibrated scores of heads over parts of their attention."""
    kind, eps = settings.calibration, settings.eps
    query = scores.query.double()
    null = None if scores.null is None else scores.null.double()
    divisor = length_divisor(scores.lengths, settings.length_norm).to(query)
    if kind == "none":
        return lambda part, _, i: part / divisor[i]
    if not isinstance(kind, str):
        calibrated = head_calibrated(scores, settings).double()
        return lambda part, _, i: calibrated[:, i] * _share(part, query[:, i], torch.bincount(i)[i])
    if null is None:
        raise ValueError(f"calibration {kind} needs the null query's scores, which were not read")
    if kind == "log_ratio":
        mean = logarithmic_mean(eps + query, eps + null)
        return lambda part, base, i: (part - _given(base)) / mean[:, i]
    return lambda part, base, i: scale_residual(part - _given(base), null[:, i], divisor[i], settings.power, eps)


def _given(null: Tensor | None) -> Tensor:
    """The parts under the null query, which `_spread` has found to be read."""
    assert null is not None
    return null


def _share(part: Tensor, whole: Tensor, count: Tensor) -> Tensor:
    """The parts' shares of the whole; equal shares of the `count` parts if the whole is 0."""
    return torch.where(whole > 0, part / whole.where(whole > 0, 1), 1 / count)


def logarithmic_mean(a: Float[Tensor, "*shape"], b: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """L(a, b) = (a - b) / (ln a - ln b) of positive numbers, and L(a, a) = a. Exact to rounding for a close to b."""
    relative = (a - b) / b
    small = relative == 0
    return b * torch.where(small, 1, relative / torch.log1p(relative.masked_fill(small, 1)))
