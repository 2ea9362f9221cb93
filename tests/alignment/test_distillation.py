"""Losses and pairs of a teacher's scores: values by hand, invariances, lists without a teacher, training."""

import math
from dataclasses import replace

import jaxtyping
import pytest
import torch

from headrank.alignment import (
    MarginMSE,
    PairSettings,
    Preference,
    TeacherKL,
    WeightedLosses,
    mine_pairs,
)
from headrank.alignment.pairs import standardised
from tests.alignment.listing import GRADES, Z, listing
from tests.alignment.steps import step
from tests.alignment.toy import toy_list, toy_module

TARGETS = torch.tensor([4.0, -1.0, 2.0, 2.0, 9.0, 0.0, 3.0, -6.0], dtype=torch.float64)
BOTH = pytest.mark.parametrize("loss", [TeacherKL(), TeacherKL(tau=0.5), MarginMSE(), MarginMSE(scale=2.5)], ids=repr)


def taught(z, targets, grades=GRADES):
    return replace(listing(z, grades), targets=targets)


def test_teacher_kl_by_hand():
    # (1, 2, 6) has mean 3 and variance 14 / 3
    t = [(x - 3) / math.sqrt(14 / 3) / 0.5 for x in (1.0, 2.0, 6.0)]
    z = torch.tensor([0.2, 1.0, -0.5], dtype=torch.float64)
    p = [math.exp(x) / sum(map(math.exp, t)) for x in t]
    q = [math.exp(x) / sum(map(math.exp, z.tolist())) for x in z.tolist()]
    expected = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    x = taught(z, torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64), torch.tensor([0, 1, 2]))
    assert float(TeacherKL(tau=0.5)(x)) == pytest.approx(expected)
    assert float(TeacherKL(tau=0.5)(replace(x, z=torch.tensor(t) + 7))) == pytest.approx(0, abs=1e-6)


def test_margin_mse_is_the_mean_over_all_pairs():
    t = standardised(TARGETS)
    pairs = [(i, j) for i in range(8) for j in range(i)]
    expected = sum(float((Z[i] - Z[j]) - 1.5 * (t[i] - t[j])) ** 2 for i, j in pairs) / len(pairs)
    assert float(MarginMSE(scale=1.5)(taught(Z, TARGETS))) == pytest.approx(expected)
    assert float(MarginMSE(scale=1.5)(taught(1.5 * t - 3, TARGETS))) == pytest.approx(0, abs=1e-12)


@BOTH
def test_gradients_are_those_of_finite_differences_and_none_reaches_the_teacher(loss):
    assert torch.autograd.gradcheck(lambda z: loss(taught(z, TARGETS)), (Z.clone().requires_grad_(),))
    targets = TARGETS.clone().requires_grad_()
    loss(taught(Z.clone().requires_grad_(), targets)).backward()
    assert targets.grad is None


@BOTH
def test_shifts_scales_of_the_teacher_and_permutations_change_nothing(loss):
    value = float(loss(taught(Z, TARGETS)))
    order = torch.tensor([3, 6, 0, 7, 2, 5, 1, 4])
    assert value > 0.01
    assert float(loss(taught(Z + 5, 0.001 * TARGETS - 9))) == pytest.approx(value)
    assert float(loss(taught(Z[order], TARGETS[order], GRADES[order]))) == pytest.approx(value)
    assert float(loss(taught(Z.float(), TARGETS.float() * 1e37))) == pytest.approx(value, rel=1e-4)


@BOTH
@pytest.mark.parametrize("targets", [None, torch.full((8,), 3.0, dtype=torch.float64)])
def test_lists_without_information_have_an_attached_zero(loss, targets):
    for n in (0, 1, 8):
        z = Z[:n].clone().requires_grad_()
        value = loss(taught(z, None if targets is None else targets[:n], GRADES[:n]))
        value.backward()
        assert value.item() == 0
        assert z.grad is not None
        assert z.grad.tolist() == [0.0] * n


@pytest.mark.parametrize("targets", [[1.0], [1.0, math.nan], [math.inf, 1.0]])
def test_bad_targets_are_refused(targets, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    x = listing([0.0, 1.0], [0, 1])
    with pytest.raises(ValueError, match="targets"):
        replace(x, targets=torch.tensor(targets, dtype=torch.float64))


def test_a_mixture_of_terms_needs_targets_if_one_does():
    assert not WeightedLosses({"preference": (1.0, Preference())}).needs_targets
    both = WeightedLosses({"preference": (1.0, Preference()), "margin_mse": (0.5, MarginMSE())})
    assert both.needs_targets
    x = taught(Z, TARGETS)
    total, values = both(x)
    assert float(total) == pytest.approx(float(values["preference"]) + 0.5 * float(MarginMSE()(x)))
    _, values = both(listing(Z, GRADES))
    assert values["margin_mse"] == 0 < values["preference"]


def pairs_of(targets, **options):
    found = mine_pairs(Z, GRADES, PairSettings(levels="teacher_margins", **options), targets=targets)
    return set(zip(found.better.tolist(), found.worse.tolist(), strict=True))


@pytest.mark.parametrize("margin", [0.0, 0.5, 2.0, 9.0])
def test_pairs_by_the_teachers_margins(margin):
    t = ((TARGETS - TARGETS.mean()) / TARGETS.std(correction=0)).tolist()
    expected = {(i, j) for i in range(8) for j in range(8) if t[i] > t[j] and t[i] - t[j] >= margin}
    assert pairs_of(TARGETS, mining="all", min_margin=margin) == expected
    hardest = sorted((float(Z[i] - Z[j]), i, j) for i, j in expected)[: math.floor(len(expected) / 2 + 0.5)]
    assert pairs_of(TARGETS, min_margin=margin) == {(i, j) for _, i, j in hardest}


def test_lists_without_a_teacher_have_pairs_of_adjacent_grades():
    found = mine_pairs(Z, GRADES, PairSettings())
    assert pairs_of(None) == set(zip(found.better.tolist(), found.worse.tolist(), strict=True))
    assert pairs_of(torch.zeros(8)) == set()


def test_training_reads_the_teacher_in_context_order(fresh):
    judged = toy_list(1)
    scores = tuple(float(grade) + 0.1 * i for i, grade in enumerate(judged.grades))
    other = replace(judged, teacher=scores)
    seen = []

    class Recorded(TeacherKL):
        def __call__(self, x):
            seen.append(x.targets)
            return super().__call__(x)

    module = toy_module(fresh, losses=WeightedLosses({"teacher_kl": (1.0, Recorded()), "p": (1.0, Preference())}))
    step(module, [judged, other])
    assert seen[0] is None
    assert seen[1].tolist() == pytest.approx([scores[i] for i in judged.order])
