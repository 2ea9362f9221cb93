"""Bootstrap intervals: against draws made one by one, paired changes, edges."""

import numpy as np
import pytest

from headrank.evaluation import ZoneCounts, change_estimate, mean_estimate, selectivity_change
from headrank.evaluation.measures.bootstrap import macro_estimate, resampled_sums
from headrank.evaluation.measures.selectivity import selectivity


def drawn(n, seed=0, shift=0.0):
    return (np.random.default_rng(seed).normal(shift, 1, n)).tolist()


def test_the_interval_is_the_bootstrap_of_lists_drawn_one_by_one():
    values = drawn(30)
    found = mean_estimate(values, resamples=20_000)
    means = np.random.default_rng(7).choice(values, (20_000, 30)).mean(1)
    assert found.value == pytest.approx(np.mean(values))
    assert found.interval == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)
    assert found.lists == 30


def test_lists_without_a_value_are_left_out():
    assert mean_estimate([1.0, None, 3.0]).value == 2.0
    assert mean_estimate([1.0, None, 3.0]).lists == 2
    assert mean_estimate([None]) is None
    assert mean_estimate([2.0]).cells == (2.0, None, None)


def test_a_change_is_paired():
    # each list gains exactly 1, whatever else differs between lists: there is no doubt about it
    before = drawn(20)
    found = change_estimate(before, [value + 1 for value in before])
    assert found.value == pytest.approx(1.0)
    assert found.interval == pytest.approx((1.0, 1.0))
    assert change_estimate([1.0, None], [2.0, 5.0]).lists == 1
    with pytest.raises(ValueError, match="1 lists before and 2 after"):
        change_estimate([1.0], [1.0, 2.0])


def test_a_change_of_selectivity_is_paired_and_pooled():
    rng = np.random.default_rng(0)
    before = [ZoneCounts(4, int(rng.integers(0, 3)), 6, int(rng.integers(0, 5))) for _ in range(25)]
    after = [ZoneCounts(z.relevant, z.relevant_top + 1, z.irrelevant, z.irrelevant_top) for z in before]
    found = selectivity_change(before, after)
    assert found.value == pytest.approx(0.25)  # one of four relevant passages more in every list
    assert found.interval == pytest.approx((0.25, 0.25))
    other = after[::-1]
    changed = selectivity_change(before, other)
    assert changed.value == pytest.approx(selectivity(other).difference - selectivity(before).difference)
    assert changed.interval[0] < changed.value < changed.interval[1]
    assert selectivity_change([ZoneCounts(1, 1, 0, 0)], [ZoneCounts(1, 1, 1, 0)]) is None
    with pytest.raises(ValueError, match="25 lists before and 24 after"):
        selectivity_change(before, after[1:])


def test_a_mean_over_benchmarks_counts_them_alike():
    found = macro_estimate([[0.0] * 90, [1.0] * 10])
    assert (found.value, found.interval, found.lists) == (0.5, (0.5, 0.5), 100)
    wide, narrow = macro_estimate([drawn(10)]), macro_estimate([drawn(1000)])
    assert narrow.interval[1] - narrow.interval[0] < (wide.interval[1] - wide.interval[0]) / 5
    assert macro_estimate([[0.5], [0.5, 1.0]]).interval is None


def test_too_few_resamples_and_no_lists_are_refused():
    with pytest.raises(ValueError, match="999 bootstrap resamples"):
        resampled_sums(np.ones((2, 1)), resamples=999)
    with pytest.raises(ValueError, match="no lists"):
        resampled_sums(np.ones((0, 1)))
