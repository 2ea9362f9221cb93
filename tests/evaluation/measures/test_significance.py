import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headrank.evaluation import compare, holm
from headrank.evaluation.measures.significance import randomization_test, t_test

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=9)


def drawn(n, shift=0.0, seed=0):
    rng = random.Random(seed)
    return [rng.gauss(shift, 1) for _ in range(n)]


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.2]) == (0.2,)
    assert holm([]) == ()


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match="p value"):
        holm([0.5, p])


def test_wins_ties_and_losses():
    c = compare([0.5, 0.5, 0.5, 0.7], [0.4, 0.5, 0.6, 0.5])
    assert (c.wins, c.ties, c.losses) == (2, 1, 1)
    assert c.difference == pytest.approx(0.05)


def test_rounding_is_a_tie():
    c = compare([0.1 + 0.2, 0.5], [0.3, 0.5])
    assert (c.wins, c.ties, c.losses, c.difference, c.p_randomization, c.p_t) == (0, 2, 0, 0.0, 1.0, 1.0)


def test_all_flips_are_counted_on_few_queries():
    # sums as far from 0 as 6: all three signs the same, two of eight
    assert randomization_test(np.array([1.0, 2.0, 3.0])) == 0.25
    assert randomization_test(np.array([1.0, -1.0])) == 1.0
    assert randomization_test(np.array([0.1] * 10 + [0.0] * 50)) == 2 / 2**10


@given(values=VALUES, seed=st.integers(0, 3))
def test_both_tests_are_symmetric(values, seed):
    other = values[::-1]
    there, back = compare(values, other, seed=seed), compare(other, values, seed=seed)
    assert there.p_randomization == back.p_randomization
    assert there.p_t == pytest.approx(back.p_t)
    assert (there.wins, there.difference) == (back.losses, -back.difference)


def test_the_random_flips_are_symmetric_too_and_seeded():
    a, b = drawn(60, 0.3), drawn(60, seed=1)
    p = compare(a, b, seed=2).p_randomization
    assert compare(b, a, seed=2).p_randomization == p
    assert compare(a, b, seed=2).p_randomization == p
    assert compare(a, b, seed=3).p_randomization != p


@pytest.mark.parametrize("n", [9, 60])
def test_against_scipy(n):
    a, b = drawn(n, 0.4), drawn(n, seed=1)
    expected = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True, rng=0
    )
    c = compare(a, b)
    assert c.p_randomization == pytest.approx(expected.pvalue, abs=0.02 if n > 20 else 1e-12)
    assert c.p_t == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_p_is_never_0_and_memory_is_bounded_on_many_queries():
    p = randomization_test(np.full(7000, 0.1), resamples=1000)
    assert p == pytest.approx(1 / 1001)


def test_under_the_null_hypothesis_p_is_uniform():
    ps = [randomization_test(np.array(drawn(15, seed=seed)), resamples=2000) for seed in range(300)]
    assert np.mean(np.array(ps) < 0.1) == pytest.approx(0.1, abs=0.06)  # three standard errors are .052


@pytest.mark.parametrize(("differences", "p"), [([0.0, 0.0], 1.0), ([0.2], None), ([0.2, 0.2, 0.2], None)])
def test_t_where_it_is_not_defined(differences, p):
    assert t_test(np.array(differences)) == p


@pytest.mark.parametrize(("a", "b", "message"), [([0.1], [0.1, 0.2], "expected pairs"), ([], [], "no queries")])
def test_faults_are_named(a, b, message):
    with pytest.raises(ValueError, match=message):
        compare(a, b)
