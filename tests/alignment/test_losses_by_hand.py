"""Every loss against values worked out by hand."""

import math
from itertools import permutations

import pytest
import torch

from headrank.alignment import (
    GradedKL,
    InfoNCE,
    LambdaRank,
    ListMLE,
    ListwiseInput,
    Pairs,
    Preference,
    QRRankerLoss,
    Spread,
)
from tests.alignment.listing import GRADES, Z, listing


def sigma(x):
    return 1 / (1 + math.exp(-x))


def test_preference_by_hand():
    # pairs (0, 1) of margin -1, weight 2 (position 1 is in the zone of four), and (0, 3) of margin 2, weight 1
    z, grades = torch.tensor([0.0, 1.0, 9.0, -2.0]), torch.tensor([1, 0, 0, 0])
    pairs = Pairs(torch.tensor([0, 0]), torch.tensor([1, 3]), torch.tensor([2.0, 1.0]))
    plain = ListwiseInput(z, grades, pairs)
    anchored = ListwiseInput(z, grades, pairs, torch.tensor([0.0, 3.0, 0.0, 1.0]))  # margins -3 and -1
    expected = -(2 * math.log(sigma(-1)) + math.log(sigma(2))) / 3
    assert float(Preference()(plain)) == pytest.approx(expected)
    assert float(Preference()(anchored)) == pytest.approx(expected)  # kappa 0 leaves the reference alone
    expected = -(2 * math.log(sigma(2 * (-1 + 3) - 0.5)) + math.log(sigma(2 * (2 + 1) - 0.5))) / 3
    assert float(Preference(beta=2.0, kappa=1.0, margin=0.5)(anchored)) == pytest.approx(expected)
    expected = -(2 * math.log(sigma(-1 + 1.5)) + math.log(sigma(2 + 0.5))) / 3
    assert float(Preference(kappa=0.5)(anchored)) == pytest.approx(expected)


def test_preference_starts_at_log_2_where_model_and_reference_agree():
    assert float(Preference(kappa=1.0)(listing(Z, GRADES, Z.clone()))) == pytest.approx(math.log(2))


def test_graded_kl_by_hand():
    # target (1, e) / (1 + e) at tau 1, scores (1, 3) / 4
    p = sigma(1)
    expected = (1 - p) * math.log((1 - p) / 0.25) + p * math.log(p / 0.75)
    assert float(GradedKL(tau=1.0)(listing([0.0, math.log(3)], [0, 1]))) == pytest.approx(expected)
    assert float(GradedKL(tau=0.5)(listing([7.0, 9.0, 13.0], [0, 1, 3]))) == pytest.approx(0, abs=1e-12)


def test_spread_by_hand():
    x = listing([50.0, 1.0, 3.0, -50.0], [0, 0, 0, 0])  # std of (1, 3) is 1
    assert float(Spread(sigma0=1.5)(x)) == pytest.approx(0.25)
    assert float(Spread(sigma0=1.0)(x)) == 0
    assert float(Spread(sigma0=0.5)(x)) == 0


def test_infonce_by_hand():
    x = listing([math.log(2), 0.0, math.log(3), math.log(6)], [3, 0, 1, 3])
    both = -(math.log(2 / (2 + 1 + 3)) + math.log(6 / (6 + 1 + 3))) / 2  # grade 3 against grades 0 and 1
    assert float(InfoNCE()(x)) == pytest.approx(both)
    three = -(math.log(2 / 3) + math.log(3 / 4) + math.log(6 / 7)) / 3  # from grade 1 on, against grade 0
    assert float(InfoNCE(relevance_threshold=1)(x)) == pytest.approx(three)
    squares = -(math.log(4 / (4 + 1 + 9)) + math.log(36 / (36 + 1 + 9))) / 2
    assert float(InfoNCE(temperature=0.5)(x)) == pytest.approx(squares)


def test_qrranker_by_hand():
    x = listing([-1.0, 3.0, 1.0], [1, 0, 0])  # scaled to 0, 8, 4
    assert float(QRRankerLoss()(x)) == pytest.approx(math.log(1 + math.exp(8) + math.exp(4)))
    x = listing([-1.0, 3.0, 1.0, 1.0], [0, 2, 2, 1])
    two = (math.log(1 + (1 + math.exp(1)) / math.exp(2)) + math.log(1 + (1 + math.exp(1)) / math.exp(1))) / 2
    assert float(QRRankerLoss(temperature=0.5)(x)) == pytest.approx(two)


def plackett_luce(z, order):
    return sum(math.log(sum(math.exp(z[j]) for j in order[k:])) - z[i] for k, i in enumerate(order))


def test_listmle_without_ties_is_the_plackett_luce_likelihood():
    z = [0.2, 1.4, -0.7, 0.5]
    assert float(ListMLE()(listing(z, [1, 0, 3, 2]))) == pytest.approx(plackett_luce(z, [2, 3, 0, 1]) / 3)
    assert sum(math.exp(-plackett_luce(z, order)) for order in permutations(range(4))) == pytest.approx(1)


def test_listmle_with_ties_by_hand():
    z = [math.log(2), math.log(4), 0.0, math.log(3)]  # grade 1: S = 6; grade 0: B = 4
    expected = (math.log(4 + 6) + math.log(4 + 3) - math.log(2) - math.log(4)) / 2
    assert float(ListMLE()(listing(z, [1, 1, 0, 0]))) == pytest.approx(expected)
    # exact where tied passages have the same z: any order of them is as likely
    z = [0.5, 0.5, 0.5, -1.0, 2.0]
    exact = plackett_luce(z, [0, 1, 2, 3, 4]) - plackett_luce(z[3:], [0, 1])
    assert float(ListMLE()(listing(z, [2, 2, 2, 0, 0]))) == pytest.approx(exact / 3)


def test_listmle_does_not_draw_the_lowest_grade():
    z = torch.tensor([2.0, 1.0, -1.0], dtype=torch.float64, requires_grad=True)
    ListMLE()(listing(z, [1, 0, 0])).backward()
    assert z.grad is not None
    # gradient of log(e^2 + e^1 + e^-1) - z_0: the others go down by their share and are not drawn together
    assert z.grad[1:].tolist() == pytest.approx(torch.softmax(z.detach(), 0)[1:].tolist())


def test_lambdarank_by_hand():
    # ranks by z: passage 2 first (grade 0), 0 second (grade 2), 1 third (grade 1)
    x = listing([1.0, 0.0, 3.0], [2, 1, 0])
    D = [1.0, 1 / math.log2(3), 0.5]
    ideal = 2 * D[0] + 1 * D[1]
    terms = {(0, 1): (1, D[1] - D[2], 1.0), (0, 2): (2, D[0] - D[1], -2.0), (1, 2): (1, D[0] - D[2], -3.0)}
    expected = sum(gain * drop / ideal * -math.log(sigma(margin)) for gain, drop, margin in terms.values())
    assert float(LambdaRank()(x)) == pytest.approx(expected)
    D, ideal = [1.0, 0.0, 0.0], 2.0  # cutoff 1: what is at rank 1 counts
    expected = (2 * -math.log(sigma(-1)) + 1 * -math.log(sigma(-1.5))) / ideal
    assert float(LambdaRank(cutoff=1, sigma=0.5)(x)) == pytest.approx(expected)


def test_lambdarank_weighs_a_pair_by_what_swapping_it_changes():
    def dcg(order):
        return sum(int(GRADES[i]) / math.log2(rank + 2) for rank, i in enumerate(order[:3]))

    ideal, order = dcg(sorted(range(8), key=lambda i: -int(GRADES[i]))), Z.argsort(descending=True).tolist()
    expected = 0.0
    for a in range(8):
        for b in range(a + 1, 8):
            i, j = sorted((order[a], order[b]), key=lambda c: -int(GRADES[c]))
            swapped = [*order]
            swapped[a], swapped[b] = swapped[b], swapped[a]
            delta = abs(dcg(swapped) - dcg(order)) / ideal
            expected += (GRADES[i] != GRADES[j]).item() * delta * -math.log(sigma(float(Z[i] - Z[j])))
    assert float(LambdaRank(cutoff=3)(listing(Z, GRADES))) == pytest.approx(expected)


def test_lambdarank_takes_a_tie_for_a_mistake_wherever_it_stands():
    values = []
    for grades in ([1, 0, 0], [0, 1, 0], [0, 0, 1]):
        z = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        loss = LambdaRank()(listing(z, grades))
        loss.backward()
        assert z.grad is not None
        assert z.grad[grades.index(1)] < 0
        values.append(loss.item())
    # the relevant passage is third: swaps with the first and the second
    expected = ((1 - 0.5) + (1 / math.log2(3) - 0.5)) * math.log(2)
    assert values == pytest.approx([expected] * 3)
