"""From head scores to z: every calibration by hand, the token filter against plain loops, gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headrank.errors import ConfigError
from headrank.model import CalibrationSettings, Head, HeadScores, TokenScores, head_calibrated, passage_scores
from headrank.model.calibration import EPS, LENGTH_NORMS, filter_tokens, head_residuals

HEADS = (Head(0, 0), Head(1, 2))
QUERY = [[0.20, 0.10, 0.00], [0.40, 0.05, 0.30]]
NULL = [[0.10, 0.10, 0.05], [0.10, 0.20, 0.00]]
LENGTHS = [4, 1, 9]
WEIGHTS = [2.0, 0.5]


def scores(query=QUERY, null=NULL, lengths=LENGTHS, tokens=None) -> HeadScores:
    heads = tuple(Head(0, h) for h in range(len(query)))
    null = None if null is None else torch.as_tensor(null)
    return HeadScores(heads, torch.as_tensor(query), null, torch.tensor(lengths), tokens)


def z_of(item: HeadScores, weights: torch.Tensor | None = None, **options) -> torch.Tensor:
    return passage_scores(item, CalibrationSettings(**options), weights)


def check(got: torch.Tensor, want: list[float]) -> None:
    torch.testing.assert_close(got, torch.tensor(want), atol=1e-6, rtol=1e-5)


def test_none_is_the_log_of_the_weighted_sum():
    want = [math.log(EPS + 2 * QUERY[0][i] + 0.5 * QUERY[1][i]) for i in range(3)]
    check(z_of(scores(), calibration="none", weights=torch.tensor(WEIGHTS)), want)
    want = [math.log(EPS + QUERY[0][i] + QUERY[1][i]) for i in range(3)]
    check(z_of(scores(null=None), calibration="none"), want)  # no null query is needed


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5, 1.0])
def test_residual_of_every_power(power):
    def residual(h, i):
        return (QUERY[h][i] - NULL[h][i]) / (EPS + NULL[h][i]) ** power

    want = [2 * residual(0, i) + 0.5 * residual(1, i) for i in range(3)]
    check(z_of(scores(), power=power, weights=torch.tensor(WEIGHTS)), want)


def test_power_zero_is_the_subtraction_itself():
    got = z_of(scores(), power=0.0)
    assert torch.equal(got, (torch.tensor(QUERY) - torch.tensor(NULL)).sum(0))


def test_the_default_is_the_residual_of_power_one_half():
    assert torch.equal(z_of(scores()), z_of(scores(), calibration="residual", power=0.5))


def test_log_ratio_is_a_weighted_mean():
    def ratio(h, i):
        return math.log(max(EPS, QUERY[h][i]) / max(EPS, NULL[h][i]))

    want = [(2 * ratio(0, i) + 0.5 * ratio(1, i)) / 2.5 for i in range(3)]
    check(z_of(scores(), calibration="log_ratio", weights=torch.tensor(WEIGHTS)), want)


NORMS = [("none", [1, 1, 1]), ("tokens", LENGTHS), ("sqrt_tokens", [2, 1, 3])]


@pytest.mark.parametrize(("norm", "divisors"), NORMS)
@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_length_norms_divide_masses_and_eps_alike(norm, divisors, scale):
    """By hand, for masses of any size: at 1e-4 an eps added after the division would weigh as much as the masses."""
    q = [[scale * value for value in row] for row in QUERY]
    n = [[scale * value for value in row] for row in NULL]

    def z(**options):
        weights = torch.tensor(WEIGHTS)
        return z_of(scores(q, n), length_norm=norm, weights=weights, **options)

    def weighed(of_head):
        return [2 * of_head(0, i, d) + 0.5 * of_head(1, i, d) for i, d in enumerate(divisors)]

    mass = [math.log((EPS + 2 * q[0][i] + 0.5 * q[1][i]) / d) for i, d in enumerate(divisors)]
    check(z(calibration="none"), mass)
    for power in (0.0, 0.5, 1.0):
        want = weighed(lambda h, i, d, p=power: (q[h][i] - n[h][i]) / d / ((EPS + n[h][i]) / d) ** p)
        torch.testing.assert_close(z(power=power), torch.tensor(want), atol=1e-9, rtol=1e-5)
    ratios = weighed(lambda h, i, _: math.log((EPS + q[h][i]) / (EPS + n[h][i])))
    check(z(calibration="log_ratio"), [value / 2.5 for value in ratios])


@pytest.mark.parametrize("norm", list(LENGTH_NORMS))
@pytest.mark.parametrize("mass", [0.3, 1e-2, 1e-3])
def test_the_log_ratio_of_twice_the_mass_is_log_two(norm, mass):
    item = scores([[2 * mass, mass]], [[mass, 2 * mass]], [400, 3])
    z = z_of(item, calibration="log_ratio", length_norm=norm)
    torch.testing.assert_close(z, torch.tensor([math.log(2), -math.log(2)]), rtol=2e-6, atol=EPS / mass)
    (row,) = head_calibrated(item, CalibrationSettings("log_ratio", length_norm=norm))
    assert torch.equal(row, z)


def token_scores(values: list[list[float]], null: bool = True) -> TokenScores:
    """One head, its tokens' calibrated scores per passage; the query's and the null query's differ by them."""
    flat = torch.tensor([[v for passage in values for v in passage]])
    passage = torch.tensor([n for n, tokens in enumerate(values) for _ in tokens], dtype=torch.long)
    base = torch.linspace(0.0, 0.3, flat.shape[1])[None]
    return TokenScores(flat + base, base if null else None, passage)


def filtered(tokens: TokenScores, passages: int, **options) -> torch.Tensor:
    heads = tokens.query.shape[0]
    mass = torch.zeros(heads, passages)
    lengths = torch.bincount(tokens.passage, minlength=passages).tolist()
    item = scores(mass.tolist(), mass.tolist(), lengths, tokens)
    return z_of(item, power=0.0, token_filter=True, **options)


def naive_filter(values: list[float]) -> float:
    """ICR's loop over one passage; a passage without spread keeps its tokens (its code gives it 0)."""
    if len(values) < 2:
        return sum(values)
    mean = sum(values) / len(values)
    std = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    if std <= 1e-7 * abs(mean):
        return sum(values)
    return sum(v for v in values if v > mean - 2 * std)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=12).map(
            lambda values: [*values, *[2.0] * 8, -50.0] if len(values) % 2 else values  # an outlier that must go
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_token_filter_is_the_naive_loop(passages):
    values = [[float(torch.tensor(v)) for v in tokens] for tokens in passages]
    flat = torch.tensor([v for tokens in values for v in tokens])
    number = torch.tensor([n for n, tokens in enumerate(values) for _ in tokens])
    got = filter_tokens(flat[None], number, len(values))[0]
    for n, tokens in enumerate(values):
        want = naive_filter(tokens)
        mean = sum(tokens) / len(tokens)
        std = float(torch.tensor(tokens, dtype=torch.float64).std(correction=min(1, len(tokens) - 1)))
        if any(abs(v - (mean - 2 * std)) < 1e-4 for v in tokens):
            continue  # a token on the threshold itself: rounding decides
        assert float(got[n]) == pytest.approx(want, abs=1e-4)


def test_an_outlying_token_is_dropped_and_a_lone_token_is_not():
    tokens = token_scores([[0.1] * 9 + [-1.0], [0.25], [0.2, 0.2, 0.2], [0.3, 0.1]])
    check(filtered(tokens, 4), [0.9, 0.25, 0.6, 0.4])


def test_the_spread_is_the_samples():
    """The last token lies 1.9 standard deviations of n - 1 below the mean, which it may; of n it would be 2.09."""
    tokens = token_scores([[1.0, 1.2, 0.8, 1.15, 0.85, -0.01]])
    check(filtered(tokens, 1), [4.99])


def test_the_filter_sees_the_heads_together():
    """ICR sums over heads before it filters: a token that one head dislikes and another likes stays."""
    row = torch.tensor([0.1] * 9 + [-1.0])
    both = TokenScores(
        torch.stack([row, torch.tensor([0.0] * 9 + [1.2])]), torch.zeros(2, 10), torch.zeros(10, dtype=torch.long)
    )
    check(filtered(both, 1), [0.9 + 0.2])
    check(filtered(both, 1, weights=torch.tensor([1.0, 0.0])), [0.9])


def test_the_filtered_score_is_length_normalised_too():
    tokens = token_scores([[0.1] * 9 + [-1.0], [0.25]])
    check(filtered(tokens, 2, length_norm="tokens"), [0.09, 0.25])


def test_without_outliers_the_filter_changes_nothing():
    tokens = token_scores([[0.1, 0.2, 0.15], [0.3, 0.1]])
    summed = torch.tensor([[0.45, 0.4]])
    torch.testing.assert_close(filtered(tokens, 2), z_of(scores(summed, torch.zeros(1, 2), [3, 2]), power=0.0))


def test_errors():
    with pytest.raises(ValueError, match="residual needs the null query's scores"):
        z_of(scores(null=None))
    with pytest.raises(ValueError, match="log_ratio needs the null query's scores"):
        z_of(scores(null=None), calibration="log_ratio")
    with pytest.raises(ValueError, match="token_filter needs head scores read per token"):
        z_of(scores(), power=0.0, token_filter=True)
    for options in ({"power": 0.5}, {"calibration": "none", "power": 0.0}):
        with pytest.raises(ConfigError, match="token_filter is True"):
            z_of(scores(), token_filter=True, **options)
    with pytest.raises(ValueError, match="token_filter needs the null query's scores"):
        filtered(token_scores([[0.1, 0.2]], null=False), 1)


@pytest.mark.parametrize(
    "options",
    [
        {"calibration": "none"},
        {"power": 0.0},
        {"power": 0.5},
        {"power": 1.0, "length_norm": "sqrt_tokens"},
        {"calibration": "log_ratio"},
    ],
    ids=str,
)
def test_gradients_are_those_of_finite_differences_and_finite_at_no_mass(options):
    """QUERY and NULL both hold a passage without mass, where a log or a ratio could give NaN."""

    def z(query, null):
        return z_of(scores(query, null), weights=torch.tensor(WEIGHTS), **options)

    zeros = [torch.zeros(2, 3, requires_grad=True) for _ in range(2)]
    values = [torch.tensor(QUERY, requires_grad=True), torch.tensor(NULL, requires_grad=True)]
    for inputs in (zeros, values):
        assert z(*inputs).isfinite().all()
        for gradient in torch.autograd.grad(z(*inputs).sum(), inputs, allow_unused=True):
            assert gradient is None or gradient.isfinite().all()
    # fp32 is the contract, so the differences are taken away from 0, coarsely
    inputs = [torch.tensor(QUERY).clamp(min=0.05).requires_grad_(), torch.tensor(NULL).clamp(min=0.05).requires_grad_()]
    gradients = torch.autograd.grad(z(*inputs)[0], inputs, allow_unused=True)
    step = 1e-3
    for which, gradient in enumerate(gradients):
        for h in range(2):
            moved = [[x.detach().clone() for x in inputs] for _ in range(2)]
            moved[0][which][h, 0] += step
            moved[1][which][h, 0] -= step
            slope = float(z(*moved[0])[0] - z(*moved[1])[0]) / (2 * step)
            got = 0.0 if gradient is None else float(gradient[h, 0])
            assert got == pytest.approx(slope, rel=1e-2, abs=1e-2)


def test_gradcheck_of_the_residual():
    query = torch.tensor(QUERY, dtype=torch.float64, requires_grad=True)
    null = torch.tensor(NULL, dtype=torch.float64).clamp(min=0.01).requires_grad_()
    lengths = torch.tensor(LENGTHS, dtype=torch.float64)
    for power in (0.0, 0.5, 1.0):
        assert torch.autograd.gradcheck(lambda q, n, p=power: head_residuals(q, n, lengths, p), (query, null))


def test_the_filter_gives_gradient_to_the_tokens_it_keeps():
    values = torch.tensor([[0.1] * 9 + [-1.0] + [0.25] + [0.2, 0.2]], requires_grad=True)
    passage = torch.tensor([0] * 10 + [1] + [2] * 2)
    (gradient,) = torch.autograd.grad(filter_tokens(values, passage, 3).sum(), values)
    assert gradient.tolist() == [[1.0] * 9 + [0.0] + [1.0] * 3]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 0.5, width=32), st.floats(0, 0.5, width=32)), min_size=1, max_size=8))
def test_the_log_ranks_as_the_sum_does(rows):
    query = torch.tensor(rows).T
    z, total = z_of(scores(query, None, [1] * len(rows)), calibration="none"), query.sum(0)
    for i in range(len(rows)):
        for j in range(len(rows)):
            if total[i] > total[j]:
                assert z[i] >= z[j]
            if total[i] > total[j] + 1e-4:
                assert z[i] > z[j]
