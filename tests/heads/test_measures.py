"""Discriminability, entropy and nDCG of a head by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headrank.heads import discriminability, entropy, ndcg


def measure(function, rows, *args):
    grades = [torch.tensor(a) if isinstance(a, list) else a for a in args]
    return function(torch.tensor(rows), *grades).tolist()


def test_discriminability_by_hand():
    # two levels: the pairs (high, low) are (0, 1), (0, 2), (3, 1), (3, 2)
    assert measure(discriminability, [[4.0, 3.0, 2.0, 5.0], [1.0, 2.0, 3.0, 0.0]], [1, 0, 0, 1]) == [1.0, 0.0]
    assert measure(discriminability, [[2.0, 1.0, 3.0, 3.0]], [1, 0, 0, 1]) == [(1 + 0 + 1 + 0.5) / 4]
    assert measure(discriminability, [[7.0, 7.0, 7.0, 7.0]], [1, 0, 0, 1]) == [0.5]  # says nothing: chance


def test_levels_are_those_present_and_only_neighbours_are_compared():
    # 3 over 1 holds; 1 over 0 does not. That 3 over 0 does not hold either counts nothing.
    assert measure(discriminability, [[2.0, 1.0, 3.0]], [3, 1, 0]) == [0.5]
    # levels weigh alike, whatever their numbers of pairs: 1 of 1 and 0 of 3
    assert measure(discriminability, [[9.0, 1.0, 2.0, 3.0, 4.0]], [2, 1, 0, 0, 0]) == [0.5]


@pytest.mark.parametrize("grades", [[1, 1], [0, 0]])
def test_one_grade_discriminates_nothing(grades):
    with pytest.raises(ValueError, match=rf"discriminability: .* \[{grades[0]}\]"):
        measure(discriminability, [[1.0, 2.0]], grades)


def test_entropy_by_hand():
    rows = [[0.25, 0.25, 0.25, 0.25], [0.5, 0.0, 0.0, 0.0], [0.3, 0.1, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    third = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4)
    assert measure(entropy, rows) == pytest.approx([1.0, 0.0, third, 1.0])
    assert measure(entropy, [[0.4], [0.0]]) == [0.0, 0.0]


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=9), st.floats(0.001, 100))
def test_entropy_is_within_0_and_1_and_knows_no_scale(row, scale):
    one, scaled = entropy(torch.tensor([row, [v * scale for v in row]])).tolist()
    assert -1e-6 <= one <= 1 + 1e-6
    if sum(row) > 1e-3:
        assert scaled == pytest.approx(one, abs=1e-3)


def dcg(gains):
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains))


def test_ndcg_by_hand():
    rows = [[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]
    ideal = dcg([2, 1, 0])
    assert measure(ndcg, rows, [0, 2, 1]) == pytest.approx([dcg([0, 2, 1]) / ideal, dcg([1, 2, 0]) / ideal])
    assert measure(ndcg, rows, [0, 2, 1], 1) == pytest.approx([0.0, 0.5])  # gains are linear
    assert measure(ndcg, rows, [0, 0, 0]) == [0.0, 0.0]
    assert measure(ndcg, rows, [-2, 0, 1]) == pytest.approx([dcg([0, 0, 1]), 1.0])  # grades below 0 gain nothing


def test_the_ideal_is_cut_too():
    assert measure(ndcg, [[3.0, 2.0, 1.0]], [1, 1, 1], 2) == pytest.approx([1.0])


def test_tied_passages_share_their_places():
    """A head that says the same of all passages has the nDCG of a random order, not the first stage's."""
    expected = dcg([1 / 3] * 3)
    assert measure(ndcg, [[5.0, 5.0, 5.0]], [1, 0, 0]) == pytest.approx([expected])
    assert measure(ndcg, [[5.0, 5.0, 5.0]], [0, 0, 1]) == pytest.approx([expected])
    assert measure(ndcg, [[2.0, 5.0, 2.0]], [0, 1, 1], 2) == pytest.approx([dcg([1, 0.5]) / dcg([1, 1])])
