"""Pairs against a brute-force miner, by hand, and at the edges."""

import math
from itertools import pairwise, product

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headrank.alignment import Pairs, PairSettings, mine_pairs


@pytest.fixture
def unchecked_shapes(monkeypatch):
    """As outside of the tests, where jaxtyping checks nothing and the code's own errors have to speak."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def mine(z, grades, *, generator=None, **options):
    z = torch.tensor(z, dtype=torch.float64) if isinstance(z, list) else z
    return mine_pairs(z, torch.tensor(grades, dtype=torch.long), PairSettings(**options), generator=generator)


def as_dict(pairs):
    assert pairs.better.dtype == pairs.worse.dtype == torch.long
    triples = zip(pairs.better.tolist(), pairs.worse.tolist(), pairs.weight.tolist(), strict=True)
    return {(i, j): weight for i, j, weight in triples}


def brute_force(z, grades, mining, levels, fraction, zone_weight):
    N, present = len(z), sorted(set(grades))
    steps = list(pairwise(present)) if levels == "adjacent" else [(a, b) for a, b in product(present, present) if a < b]
    kept = {}
    for low, high in steps:
        group = [(z[i] - z[j], i, j) for i in range(N) for j in range(N) if (grades[i], grades[j]) == (high, low)]
        if mining == "hard":
            group = sorted(group)[: max(1, math.floor(fraction * len(group) + 0.5))]
        for _, i, j in group:
            inside = any(N / 4 <= c < 3 * N / 4 for c in (i, j))
            kept[i, j] = 1 + zone_weight * inside
    return kept


lists = st.integers(0, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(-6, 6).map(lambda v: v / 2), min_size=n, max_size=n),  # coarse: ties happen
        st.lists(st.sampled_from([0, 1, 2, 3, 7, 100]), min_size=n, max_size=n),
    )
)


@settings(deadline=None)
@given(
    lists, st.sampled_from(["hard", "all"]), st.sampled_from(["adjacent", "all"]), st.floats(0.01, 1), st.floats(0, 3)
)
def test_pairs_are_those_of_the_brute_force_miner(item, mining, levels, fraction, zone_weight):
    z, grades = item
    found = mine(z, grades, mining=mining, levels=levels, fraction=fraction, zone_weight=zone_weight)
    expected = brute_force(z, grades, mining, levels, fraction, zone_weight)
    assert as_dict(found) == pytest.approx(expected)
    assert list(as_dict(found)) == sorted(expected)
    assert len(found) == len(expected)


@settings(deadline=None)
@given(lists, st.sampled_from(["adjacent", "all"]), st.floats(0.01, 1), st.integers(0, 2**31))
def test_random_pairs_are_eligible_as_many_as_hard_ones_and_repeat_with_their_seed(item, levels, fraction, seed):
    z, grades = item

    def draw():
        generator = torch.Generator().manual_seed(seed)
        return as_dict(mine(z, grades, mining="random", levels=levels, fraction=fraction, generator=generator))

    found, hard = draw(), mine(z, grades, mining="hard", levels=levels, fraction=fraction)
    assert found == draw()
    assert found.items() <= as_dict(mine(z, grades, mining="all", levels=levels)).items()

    def groups(pairs):
        return sorted((grades[i], grades[j]) for i, j in pairs)

    assert groups(found) == groups(as_dict(hard))


def test_random_pairs_differ_between_seeds_and_know_nothing_of_z():
    grades = [1] * 6 + [0] * 6
    drawn = [
        as_dict(mine(z, grades, mining="random", generator=torch.Generator().manual_seed(seed)))
        for z, seed in [([0.0] * 12, 0), ([float(c) for c in range(12)], 0), ([0.0] * 12, 1)]
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@given(lists.filter(lambda item: len({a - b for a in item[0] for b in item[0]}) > len(item[0]) ** 2 - len(item[0])))
@settings(deadline=None, max_examples=30)
def test_without_equal_margins_the_choice_follows_a_permutation(item):
    z, grades = item
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(0)).tolist()
    moved = as_dict(mine([z[c] for c in order], [grades[c] for c in order]))
    assert {(order[i], order[j]) for i, j in moved} == set(as_dict(mine(z, grades)))


def test_hard_pairs_by_hand():
    # grades 2 over 1 and 1 over 0, never 2 over 0; zone of five: positions 2 and 3
    z, grades = [0.0, 1.0, 2.0, 3.0, 0.5], [2, 1, 0, 0, 1]
    # margins: (0,1) -1, (0,4) -.5 | (1,2) -1, (1,3) -2, (4,2) -1.5, (4,3) -2.5
    assert as_dict(mine(z, grades, zone_weight=0.5)) == {(0, 1): 1.0, (1, 3): 1.5, (4, 3): 1.5}
    assert set(as_dict(mine(z, grades, fraction=0.01))) == {(0, 1), (4, 3)}  # at least one of each level pair
    assert set(as_dict(mine(z, grades, levels="all", fraction=0.01))) == {(0, 1), (4, 3), (0, 3)}
    assert len(mine(z, grades, mining="all", fraction=0.01)) == 6  # the fraction is for the others


@pytest.mark.parametrize(
    ("count", "fraction", "kept"), [(1, 0.5, 1), (3, 0.5, 2), (5, 0.5, 3), (10, 0.3, 3), (10, 0.04, 1)]
)
def test_the_fraction_is_rounded_halves_up(count, fraction, kept):
    assert len(mine([0.0] * (count + 1), [1] + [0] * count, fraction=fraction)) == kept


def test_equal_margins_are_taken_in_context_order():
    assert list(as_dict(mine([1.0] * 4, [0, 1, 0, 1]))) == [(1, 0), (1, 2)]


@pytest.mark.parametrize("mining", ["hard", "random", "all"])
@pytest.mark.parametrize("levels", ["adjacent", "all"])
@pytest.mark.parametrize("grades", [[], [0], [3], [2, 2, 2]])
def test_one_level_gives_no_pairs(grades, mining, levels):
    pairs = mine([0.5] * len(grades), grades, mining=mining, levels=levels)
    assert len(pairs) == 0
    assert as_dict(pairs) == {}
    assert pairs.weight.dtype == torch.float64


def test_no_gradient_flows_through_mining_and_weights_have_the_dtype_of_z():
    z = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    pairs = mine(z, [1, 0, 0])
    assert not pairs.weight.requires_grad
    assert pairs.weight.dtype == torch.float32


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("z", "grades", "message"),
    [
        ([1.0, math.nan, 2.0], [1, 0, 0], r"z is nan at context position 1 \(1 of 3 are not finite\), expected finite"),
        ([math.inf, -math.inf], [1, 0], r"z is inf at context position 0 \(2 of 2"),
        ([1.0, 2.0], [1, 0, 0], r"z of shape \(2,\) with grades of shape \(3,\), expected equal ones"),
        ([], [1], r"z of shape \(0,\) with grades of shape \(1,\)"),
        ([1.0, 2.0], [1, -2], r"grades down to -2, expected 0 or more"),
    ],
)
def test_bad_lists_are_refused(z, grades, message):
    with pytest.raises(ValueError, match=message):
        mine(z, grades)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mining": "easy"}, "PairSettings.mining is 'easy'"),
        ({"levels": "some"}, "PairSettings.levels is 'some'"),
        ({"fraction": 0.0}, "PairSettings.fraction is 0.0"),
        ({"fraction": 1.5}, "PairSettings.fraction is 1.5"),
        ({"fraction": math.nan}, "PairSettings.fraction is nan"),
        ({"zone_weight": -1.0}, "PairSettings.zone_weight is -1.0"),
        ({"zone_weight": math.inf}, "PairSettings.zone_weight is inf"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PairSettings(**options)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("better", "worse", "weight", "message"),
    [
        ([0, 1], [1], [1.0], r"pairs with \(2, 1, 1\)"),
        ([0], [1], [0.0], r"pair weights \[0.0\], expected finite numbers above 0"),
        ([0], [1], [math.nan], r"pair weights \[nan\]"),
        ([0], [1], [math.inf], r"pair weights \[inf\]"),
    ],
)
def test_bad_pairs_are_refused(better, worse, weight, message):
    with pytest.raises(ValueError, match=message):
        Pairs(torch.tensor(better), torch.tensor(worse), torch.tensor(weight))
