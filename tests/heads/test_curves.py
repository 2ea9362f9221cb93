"""Quality against the number of heads and their depth, on tables made by hand."""

import math

import pytest

from headrank.heads import AllHeads, Contrastive, EntropyRegularized, head_curves
from headrank.model import ScorerSettings
from tests.heads.toy import labelled, table

SCORER = ScorerSettings(calibration="none")
GRADES = [0, 0, 1]
RIGHT, WRONG = [0.1, 0.2, 0.9], [0.9, 0.5, 0.1]
WORST = 0.5  # nDCG of the only relevant passage at rank 3: 1 / log2(4)


def lists(*heads, n=10, threshold=1):
    """`n` labelled lists whose heads (two to a layer) all give these scores."""
    scores = [list(h) for h in heads]
    return table(*(labelled(scores, GRADES, query_id=f"q{i}", threshold=threshold) for i in range(n)))


def test_points_are_the_ndcg_of_the_best_heads_of_each_number_and_depth():
    # layer 0: nothing but wrong heads; layer 1: a right one whose mass the others outweigh three to one
    found = head_curves(lists(WRONG, WRONG, RIGHT, WRONG), EntropyRegularized(weight=0.0), SCORER, count=1, depth=2)
    # right and wrong together tie the relevant passage with the first one for ranks 1 and 2
    assert found["heads"] == [[1, 1.0], [2, pytest.approx((1 + 1 / math.log2(3)) / 2)], [4, WORST]]
    assert found["depth"] == [[1, WORST], [2, 1.0]]
    assert found["used"] == {"heads": 1, "depth": 2}
    assert (found["lists"], found["folds"], found["criterion"]) == (10, 5, "entropy_regularized")


def test_a_list_is_scored_by_heads_that_it_did_not_choose():
    # two lists that want opposite heads: chosen on the other one, each gets the wrong one
    opposite = table(labelled([RIGHT, WRONG], GRADES, query_id="a"), labelled([WRONG, RIGHT], GRADES, query_id="b"))
    found = head_curves(opposite, EntropyRegularized(weight=0.0), SCORER, count=1, depth=1)
    assert found["folds"] == 2
    assert found["heads"][0] == [1, WORST]


def test_the_number_in_use_is_a_point_and_depths_with_too_few_heads_are_none():
    found = head_curves(lists(WRONG, RIGHT, RIGHT, RIGHT), EntropyRegularized(), SCORER, count=3, depth=2)
    assert [n for n, _ in found["heads"]] == [1, 2, 3, 4]
    assert [n for n, _ in found["depth"]] == [2]


@pytest.mark.parametrize(("criterion", "n"), [(AllHeads(), 10), (EntropyRegularized(), 1), (Contrastive(), 10)])
def test_without_labels_without_lists_and_without_what_the_criterion_needs_there_are_no_curves(criterion, n):
    found = head_curves(lists(RIGHT, WRONG, n=n, threshold=2), criterion, SCORER, count=1, depth=1)
    assert (found["heads"], found["depth"]) == ([], [])
