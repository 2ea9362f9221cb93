"""Sliding windows, driven by an oracle that orders each window rightly."""

import random

import pytest

from headrank.baselines import SlidingWindows

SIZES = {  # list size -> the windows of 20, step 10, as positions
    0: [],
    1: [],
    2: [(0, 2)],
    19: [(0, 19)],
    20: [(0, 20)],
    21: [(1, 21), (0, 11)],
    40: [(20, 40), (10, 30), (0, 20)],
    100: [(start, start + 20) for start in range(80, -1, -10)],
}


def slide(values: list[int], window: int, step: int) -> tuple[list[int], list[tuple[int, ...]]]:
    """The final order of candidates with these relevances under an oracle, and the windows it was shown."""
    windows = SlidingWindows(len(values), window=window, step=step)
    shown = []
    while current := windows.current:
        shown.append(current)
        windows.permute(sorted(range(len(current)), key=lambda i: -values[current[i]]))
    return windows.order, shown


@pytest.mark.parametrize("size", SIZES)
def test_windows_come_from_the_back(size):
    windows = SlidingWindows(size, window=20, step=10)
    spans = []
    while current := windows.current:
        spans.append((current[0], current[-1] + 1))
        assert current == tuple(range(*spans[-1])), "nothing moved yet"
        windows.permute(range(len(current)))
    assert spans == SIZES[size]
    assert windows.order == list(range(size))


@pytest.mark.parametrize("size", SIZES)
def test_the_oracle_brings_the_best_step_to_the_top(size):
    values = random.Random(size).sample(range(1000), size)
    order, shown = slide(values, 20, 10)
    assert sorted(order) == list(range(size))
    best = sorted(range(size), key=lambda i: -values[i])
    assert order[:10] == best[:10]
    if size <= 20:
        assert order == best
    assert {candidate for window in shown for candidate in window} == set(range(size if size > 1 else 0))


def test_the_worst_list_by_hand():
    # Window 4, step 2 over 6 passages, best last: 5 wins both windows, 4 too, the rest stay behind.
    order, shown = slide([0, 1, 2, 3, 4, 5], 4, 2)
    assert shown == [(2, 3, 4, 5), (0, 1, 5, 4)]
    assert order == [5, 4, 1, 0, 3, 2]


def test_only_permutations_are_taken():
    windows = SlidingWindows(3, window=3, step=1)
    for wrong in ([0, 1], [0, 0, 1], [1, 2, 3]):
        with pytest.raises(ValueError, match="permutation"):
            windows.permute(wrong)
    windows.permute([2, 1, 0])
    assert windows.order == [2, 1, 0]
    assert windows.current == ()


@pytest.mark.parametrize(("window", "step"), [(1, 1), (20, 0), (20, 21), (0, 0)])
def test_windows_that_cannot_be(window, step):
    with pytest.raises(ValueError, match=f"window {window}, step {step}"):
        SlidingWindows(5, window=window, step=step)


def test_windows_side_by_side_leave_no_single_passage_to_ask_about():
    windows = SlidingWindows(5, window=4, step=4)
    windows.permute([3, 2, 1, 0])
    assert windows.current == ()
    assert windows.order == [0, 4, 3, 2, 1]
