"""Brier score, calibration error and bins, by hand and by simulation."""

import random

import pytest

from headrank.evaluation import ReliabilityBin, measure_probabilities


def measured(pairs, **options):
    """One query; (probability, grade) of each passage, None: unjudged."""
    probabilities = {"q": {f"d{i}": p for i, (p, _) in enumerate(pairs)}}
    qrels = {"q": {f"d{i}": grade for i, (_, grade) in enumerate(pairs) if grade is not None} | {"other": 1}}
    return measure_probabilities(probabilities, qrels, query_ids=["q"], **options)


def test_by_hand():
    found = measured([(0.9, 2), (0.6, 1), (0.2, None), (0.1, 0)], relevance_threshold=2, origin="mine")
    assert found is not None
    assert found.brier == pytest.approx((0.1**2 + 0.6**2 + 0.2**2 + 0.1**2) / 4)
    assert found.error == pytest.approx((0.1 + 0.6 + 0.2 + 0.1) / 4)  # a bin per passage
    assert (found.passages, found.relevant, found.predicted) == (4, 0.25, pytest.approx(0.45))
    assert found.bins[0] == ReliabilityBin(1, 0.1, 0.0)
    assert found.constant_brier == pytest.approx(0.25 * 0.75)
    assert found.origin == "mine"


def test_bins_have_equal_mass_and_equal_probabilities_share_one():
    found = measured([(i / 100, 0) for i in range(95)])
    assert found is not None
    assert sorted(one.passages for one in found.bins) == [9] * 5 + [10] * 5
    pairs = [(0.5, i % 2) for i in range(50)] + [(0.8, 1)] * 50
    tied = measured(pairs)
    assert tied is not None
    assert [(one.passages, one.relevant) for one in tied.bins] == [(50, 0.5), (50, 1.0)]
    assert [one.predicted for one in tied.bins] == pytest.approx([0.5, 0.8])
    assert tied.error == pytest.approx(0.1)
    random.Random(0).shuffle(pairs)
    shuffled = measured(pairs)
    assert shuffled is not None
    assert shuffled.error == pytest.approx(tied.error, abs=1e-12)


def test_true_probabilities_have_a_small_error_and_false_ones_a_large_one():
    rng = random.Random(0)
    pairs = [(p, int(rng.random() < p)) for p in (rng.random() for _ in range(20_000))]
    right, wrong = measured(pairs), measured([(1 - p, y) for p, y in pairs])
    assert right is not None
    assert wrong is not None
    assert right.error < 0.02
    assert wrong.error == pytest.approx(0.5, abs=0.03)
    assert right.brier == pytest.approx(1 / 6, abs=0.01)
    assert right.constant_brier == pytest.approx(1 / 4, abs=0.01)


def test_without_probabilities_nothing_is_measured():
    assert measure_probabilities({}, {"q": {"d": 1}}, query_ids=["q"]) is None
    assert measure_probabilities({"other": {"d": 0.5}}, {"q": {"d": 1}}, query_ids=["q"]) is None


@pytest.mark.parametrize("value", [-0.25, 1.25, float("nan")])
def test_a_probability_outside_its_range_is_refused(value):
    with pytest.raises(ValueError, match=str(value)):
        measured([(value, 1)])
