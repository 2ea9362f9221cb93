"""Contributions add up to the calibrated scores, for every calibration, by token and by row."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from headrank.model import CalibrationSettings, Head, HeadScores, TokenScores, head_calibrated, passage_scores
from headrank.model.attribution import adds_up_to, attribute_rows, attribute_tokens, logarithmic_mean
from headrank.model.calibration import length_divisor, sum_by_passage

LENGTHS = torch.tensor([3, 1, 7, 2])
WEIGHTS = torch.tensor([1.5, -0.25, 0.5])


@dataclass(frozen=True)
class Root:
    """The square root of the attention: a calibration from outside."""

    name: ClassVar[str] = "root"
    needs_null: ClassVar[bool] = False

    def __call__(self, query, null, divisor, eps):
        return query.sqrt() / divisor


def reading(seed=0, rows=4, scale=0.1) -> HeadScores:
    """Random head scores of three heads, four passages and some rows, consistent as a reading is."""
    torch.manual_seed(seed)
    passage = torch.repeat_interleave(torch.arange(4), LENGTHS)
    query, null = scale * torch.rand(2, 3, 13).pow(4)
    sums = [sum_by_passage(one, passage, 4) for one in (query, null)]
    shares = torch.rand(rows, 3, 4)
    by_row = rows * sums[0] * shares / shares.sum(0)
    heads = tuple(Head(0, h) for h in range(3))
    return HeadScores(heads, sums[0], sums[1], LENGTHS, TokenScores(query, null, passage), by_row)


EXACT = {
    "subtraction": CalibrationSettings(power=0.0),
    "residual": CalibrationSettings(),
    "by length": CalibrationSettings(power=0.75, length_norm="sqrt_tokens"),
    "relative": CalibrationSettings(power=1.0, eps=1e-3),
    "log_ratio": CalibrationSettings(calibration="log_ratio"),
    "object": CalibrationSettings(calibration=Root(), length_norm="tokens"),
}


def by_passage(scores: HeadScores, contributions: torch.Tensor) -> torch.Tensor:
    return sum_by_passage(contributions, scores.tokens.passage, len(scores.lengths))


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_tokens_of_each_head_add_up_to_its_calibrated_score(name, weights):
    scores, settings = reading(), EXACT[name]
    found = by_passage(scores, attribute_tokens(scores, settings, weights))
    w = torch.ones(3) if weights is None else weights
    expected = w[:, None] * head_calibrated(scores, settings)
    if name == "log_ratio":
        expected = expected / w.sum()
    torch.testing.assert_close(found, expected.double(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.sum(0), passage_scores(scores, settings, weights).double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", EXACT)
def test_rows_add_up_to_what_tokens_add_up_to(name):
    scores, settings = reading(rows=5), EXACT[name]
    rows = attribute_rows(scores, settings, WEIGHTS)
    assert rows.shape == (5, 4)
    tokens = by_passage(scores, attribute_tokens(scores, settings, WEIGHTS)).sum(0)
    torch.testing.assert_close(rows.sum(0), tokens, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", ["none", "tokens"])
def test_none_adds_up_to_the_mass_within_the_logarithm(norm):
    settings = CalibrationSettings(calibration="none", length_norm=norm)
    scores, w = reading(), WEIGHTS.abs()
    z, divisor = passage_scores(scores, settings, w), length_divisor(LENGTHS, norm)
    tokens = by_passage(scores, attribute_tokens(scores, settings, w)).sum(0)
    torch.testing.assert_close(tokens, (z.exp() - settings.eps / divisor).double(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(attribute_rows(scores, settings, w).sum(0), tokens, rtol=1e-5, atol=1e-6)


def test_dropped_tokens_contribute_nothing():
    scores, settings = reading(), CalibrationSettings(power=0.0, token_filter=True)
    query = scores.tokens.query.clone()
    query[:, 6] = -5  # far below the other six tokens of the third passage, which starts at token 4
    scores = replace(scores, tokens=replace(scores.tokens, query=query))
    found = attribute_tokens(scores, settings, WEIGHTS.abs())
    assert (found == 0).all(0).nonzero().flatten().tolist() == [6]
    z = passage_scores(scores, settings, WEIGHTS.abs())
    torch.testing.assert_close(by_passage(scores, found).sum(0), z.double(), rtol=1e-5, atol=1e-6)


def test_a_share_of_nothing_is_the_same_for_all():
    scores = reading(rows=2)
    silent = replace(
        scores,
        query=torch.zeros(3, 4),
        tokens=replace(scores.tokens, query=torch.zeros(3, 13)),
        rows=torch.zeros(2, 3, 4),
    )

    @dataclass(frozen=True)
    class One:
        name: ClassVar[str] = "one"
        needs_null: ClassVar[bool] = False

        def __call__(self, query, null, divisor, eps):
            return torch.ones_like(query)

    settings = CalibrationSettings(calibration=One())
    found = attribute_tokens(silent, settings)
    torch.testing.assert_close(found[0], (1 / LENGTHS.double())[silent.tokens.passage])
    torch.testing.assert_close(attribute_rows(silent, settings), torch.full((2, 4), 1.5, dtype=torch.float64))


def test_what_contributions_add_up_to():
    names = {name: adds_up_to(settings) for name, settings in EXACT.items()}
    assert names.pop("object") == "score_shares"
    assert set(names.values()) == {"score"}
    assert adds_up_to(CalibrationSettings(calibration="none")) == "attention"


@hypothesis_settings(deadline=None)
@given(st.floats(1e-6, 1), st.one_of(st.just(0.0), st.floats(-0.5, 1e3), st.floats(-1e-12, 1e-12)))
def test_the_logarithmic_mean(b, relative):
    a = b * (1 + relative)
    found = logarithmic_mean(*torch.tensor([[a], [b]], dtype=torch.float64)).item()
    assert min(a, b) * (1 - 1e-9) <= found <= max(a, b) * (1 + 1e-9)  # a mean
    if abs(a - b) > 1e-3 * b:
        assert math.isclose(found, (a - b) / (math.log(a) - math.log(b)), rel_tol=1e-9)
    else:
        assert math.isclose(found, (a + b) / 2, rel_tol=1e-6)


def test_missing_readings_are_errors():
    scores = reading()
    with pytest.raises(ValueError, match="per token"):
        attribute_tokens(replace(scores, tokens=None), CalibrationSettings())
    with pytest.raises(ValueError, match="per row"):
        attribute_rows(replace(scores, rows=None), CalibrationSettings())
    with pytest.raises(ValueError, match="null"):
        attribute_rows(replace(scores, null=None), CalibrationSettings())
