"""Every loss: by hand, by gradcheck, by its invariances, at the edges, and with bad input."""

import ast
import doctest
import importlib
import math
import sys
from itertools import permutations
from pathlib import Path

import jaxtyping
import pytest
import torch

from headrank import alignment
from headrank.alignment import (
    GradedKL,
    InfoNCE,
    LambdaRank,
    ListMLE,
    ListwiseInput,
    Loss,
    NoLoss,
    Pairs,
    PairSettings,
    Preference,
    QRRankerLoss,
    Spread,
    WeightedLosses,
    mine_pairs,
)

LOSSES = [
    Preference(),
    Preference(beta=0.5, kappa=1.0, margin=0.3),
    GradedKL(),
    Spread(sigma0=3.0),
    InfoNCE(),
    InfoNCE(temperature=0.5, relevance_threshold=1),
    ListMLE(),
    LambdaRank(),
    LambdaRank(cutoff=2, sigma=0.5),
    QRRankerLoss(),
    QRRankerLoss(temperature=0.5, relevance_threshold=1),
    NoLoss(),
]
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)

Z = torch.tensor([0.3, -1.2, 2.1, 0.9, -0.4, 1.5, 0.1, -2.0], dtype=torch.float64)
GRADES = torch.tensor([2, 0, 1, 0, 3, 0, 1, 0])
REFERENCE = torch.tensor([0.1, 0.2, 1.1, 0.3, -0.6, 1.0, 0.4, -1.0], dtype=torch.float64)


@pytest.fixture
def unchecked_shapes(monkeypatch):
    """As outside of the tests, where jaxtyping checks nothing and the code's own errors have to speak."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def listing(z, grades, reference=None, **options):
    z = torch.tensor(z, dtype=torch.float64) if isinstance(z, list) else z
    grades = torch.tensor(grades, dtype=torch.long) if isinstance(grades, list) else grades
    reference = torch.tensor(reference, dtype=torch.float64) if isinstance(reference, list) else reference
    return ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings(**options)), reference)


def sigma(x):
    return 1 / (1 + math.exp(-x))


# by hand


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


# what all of them share


@each_loss
def test_gradients_are_those_of_finite_differences(loss):
    def f(z):
        return loss(ListwiseInput(z, GRADES, pairs, REFERENCE))

    pairs = mine_pairs(Z, GRADES, PairSettings(levels="all"))
    assert torch.autograd.gradcheck(f, (Z.clone().requires_grad_(),))
    assert torch.autograd.gradcheck(f, ((Z * 30).requires_grad_(),), atol=1e-4)


@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loss_is_a_scalar_of_the_dtype_of_z_and_not_negative(loss, dtype):
    value = loss(listing(Z.to(dtype), GRADES, REFERENCE))  # the reference may have been stored in another dtype
    assert value.dtype == dtype
    assert value.shape == ()
    assert value >= 0


@each_loss
def test_a_shift_of_z_changes_nothing(loss):
    assert float(loss(listing(Z + 5, GRADES, REFERENCE + 3))) == pytest.approx(
        float(loss(listing(Z, GRADES, REFERENCE)))
    )


@each_loss
def test_a_joint_permutation_of_the_list_changes_nothing(loss):
    if isinstance(loss, Spread):  # the zone is a matter of positions: within the zone and outside of it
        order = torch.tensor([7, 1, 4, 2, 5, 3, 0, 6])
    else:
        order = torch.tensor([3, 6, 0, 7, 2, 5, 1, 4])
    options = {"zone_weight": 0.0, "levels": "all"}
    moved = listing(Z[order], GRADES[order], REFERENCE[order], **options)
    assert float(loss(moved)) == pytest.approx(float(loss(listing(Z, GRADES, REFERENCE, **options))))


@pytest.mark.parametrize("factor", [0.01, 7.0])
def test_qrranker_is_blind_to_the_scale_of_z(factor):
    assert float(QRRankerLoss()(listing(Z * factor, GRADES))) == pytest.approx(
        float(QRRankerLoss()(listing(Z, GRADES)))
    )


@pytest.mark.parametrize("loss", [x for x in LOSSES if not isinstance(x, Spread | NoLoss)], ids=repr)
def test_raising_the_best_passage_from_below_lowers_the_loss(loss):
    low, high = Z.clone(), Z.clone()
    low[4], high[4] = -1.9, 1.4  # the passage of grade 3
    pairs = mine_pairs(Z, GRADES, PairSettings(mining="all"))
    assert loss(ListwiseInput(high, GRADES, pairs, REFERENCE)) < loss(ListwiseInput(low, GRADES, pairs, REFERENCE))


@each_loss
def test_no_gradient_reaches_the_reference(loss):
    reference = REFERENCE.clone().requires_grad_()
    loss(listing(Z.clone().requires_grad_(), GRADES, reference)).backward()
    assert reference.grad is None


@each_loss
@pytest.mark.parametrize("grades", [[], [0], [3], [0, 0, 0, 0, 0, 0, 0, 0], [2, 2, 2, 2, 2, 2, 2, 2]])
def test_lists_that_say_nothing_have_a_value_and_a_graph(loss, grades):
    z = Z[: len(grades)].clone().requires_grad_()
    value = loss(listing(z, grades, REFERENCE[: len(grades)]))
    value.backward()
    assert z.grad is not None
    assert bool(z.grad.isfinite().all())
    if len(grades) < 2 or not isinstance(loss, GradedKL | Spread):  # those two judge the scores, one grade or not
        assert value.item() == 0
        assert z.grad.tolist() == [0.0] * len(grades)


@each_loss
def test_scores_that_are_all_the_same_have_finite_gradients(loss):
    z = torch.full((8,), 0.7, dtype=torch.float64, requires_grad=True)
    value = loss(listing(z, GRADES, REFERENCE))
    value.backward()
    assert z.grad is not None
    assert bool(value.isfinite())
    assert bool(z.grad.isfinite().all())


@each_loss
@pytest.mark.parametrize("scale", [1e3, 1e30])
def test_scores_far_apart_do_not_overflow(loss, scale):
    z = (Z.float() * scale).requires_grad_()
    value = loss(listing(z, GRADES, REFERENCE.float()))
    value.backward()
    assert z.grad is not None
    assert bool(z.grad.isfinite().all())
    assert scale > 1e3 or bool(value.isfinite())


@each_loss
def test_every_loss_is_a_loss_with_its_name_and_sections(loss):
    assert isinstance(loss, Loss)
    assert loss.needs_reference == (isinstance(loss, Preference) and loss.kappa != 0)
    assert all(f"\n    {section}:\n" in (loss.__doc__ or "") for section in ("Args", "References", "Inputs", "Example"))


def test_names_are_those_of_the_configuration():
    names = {type(loss): loss.name for loss in LOSSES}
    assert sorted(names.values()) == sorted(
        ["preference", "graded_kl", "spread", "infonce", "listmle", "lambdarank", "qrranker", "none"]
    )


# several at once


def test_weighted_losses_add_up():
    terms = {"preference": (1.0, Preference()), "graded_kl": (0.5, GradedKL()), "watched": (0.0, InfoNCE())}
    losses = WeightedLosses(terms)
    x = listing(Z.clone().requires_grad_(), GRADES)
    total, values = losses(x)
    alone = {name: loss(x).item() for name, (_, loss) in terms.items()}
    assert {name: float(value) for name, value in values.items()} == pytest.approx(alone)
    assert total.item() == pytest.approx(alone["preference"] + 0.5 * alone["graded_kl"])
    assert total.requires_grad
    assert not any(value.requires_grad for value in values.values())
    assert not losses.needs_reference
    assert WeightedLosses(terms | {"anchor": (1.0, Preference(kappa=1.0))}).needs_reference


def test_weighted_losses_pass_gradcheck():
    losses = WeightedLosses({"preference": (1.0, Preference(kappa=0.5)), "spread": (0.3, Spread(sigma0=4.0))})
    pairs = mine_pairs(Z, GRADES, PairSettings())
    assert torch.autograd.gradcheck(
        lambda z: losses(ListwiseInput(z, GRADES, pairs, REFERENCE))[0], (Z.clone().requires_grad_(),)
    )


def test_weighted_losses_refuse_no_terms_and_bad_weights():
    with pytest.raises(ValueError, match="without terms, wanted at least one"):
        WeightedLosses({})
    with pytest.raises(ValueError, match=r"terms\['spread'\] weight is -1.0, wanted a finite number, 0 or more"):
        WeightedLosses({"spread": (-1.0, Spread())})
    with pytest.raises(ValueError, match=r"weight is nan"):
        WeightedLosses({"spread": (math.nan, Spread())})


# bad input


def test_a_missing_reference_is_refused():
    with pytest.raises(ValueError, match=r"kappa 1\.0 needs the start model's scores and reference is None"):
        Preference(kappa=1.0)(listing(Z, GRADES))
    with pytest.raises(ValueError, match="reference is None"):  # also where a list has no pairs: a wiring error
        Preference(kappa=1.0)(listing([1.0], [0]))


NO_PAIRS = Pairs(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), torch.zeros(0))


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("z", "grades", "pairs", "reference", "message"),
    [
        ([0.0, math.nan], [0, 1], NO_PAIRS, None, "z is nan at context position 1"),
        ([0.0, math.inf], [0, 1], NO_PAIRS, None, "z is inf at context position 1"),
        ([0.0, 1.0], [0, 1, 2], NO_PAIRS, None, r"z of shape \(2,\) with grades of shape \(3,\)"),
        ([0.0, 1.0], [0, -1], NO_PAIRS, None, "grades down to -1"),
        ([0.0, 1.0], [0, 1], NO_PAIRS, [0.0], r"reference scores of shape \(1,\), wanted one per passage, 2"),
        ([0.0, 1.0], [0, 1], NO_PAIRS, [0.0, -math.inf], "reference is -inf at context position 1"),
        (
            [0.0, 1.0],
            [0, 1],
            Pairs(torch.tensor([2]), torch.tensor([0]), torch.ones(1)),
            None,
            "pairs.better holds positions 2 to 2, wanted 0 to 1",
        ),
        (
            [0.0, 1.0],
            [0, 1],
            Pairs(torch.tensor([1, 1]), torch.tensor([0, -1]), torch.ones(2)),
            None,
            "pairs.worse holds positions -1 to 0, wanted 0 to 1",
        ),
    ],
)
def test_bad_input_is_refused(z, grades, pairs, reference, message):
    reference = None if reference is None else torch.tensor(reference)
    with pytest.raises(ValueError, match=message):
        ListwiseInput(torch.tensor(z), torch.tensor(grades), pairs, reference)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Preference(beta=0.0), "Preference.beta is 0.0, wanted a finite number, above 0"),
        (lambda: Preference(kappa=-0.5), "Preference.kappa is -0.5, wanted a finite number, 0 or more"),
        (lambda: Preference(margin=math.inf), "Preference.margin is inf, wanted a finite number"),
        (lambda: GradedKL(tau=0.0), "GradedKL.tau is 0.0"),
        (lambda: Spread(sigma0=-1.0), "Spread.sigma0 is -1.0"),
        (lambda: InfoNCE(temperature=0.0), "InfoNCE.temperature is 0.0"),
        (lambda: QRRankerLoss(temperature=-1.0), "QRRankerLoss.temperature is -1.0"),
        (lambda: LambdaRank(cutoff=0), "LambdaRank.cutoff is 0, wanted a finite number, 1 or more"),
        (lambda: LambdaRank(sigma=math.nan), "LambdaRank.sigma is nan"),
    ],
)
def test_bad_parameters_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# the texts and the imports


@pytest.mark.parametrize("module", ["pairwise", "regularizers", "contrastive", "listwise", "combined"])
def test_the_examples_in_the_docstrings_hold(module):
    result = doctest.testmod(importlib.import_module(f"headrank.alignment.losses.{module}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_pairs_and_losses_know_no_model_and_no_trainer():
    folder = Path(alignment.__file__).parent
    imported = set()
    for file in [folder / "__init__.py", folder / "pairs.py", *(folder / "losses").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
            elif isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
    third_party = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    allowed = {"torch", "torch.nn.functional", "jaxtyping"}
    assert {name for name in third_party if not name.startswith("headrank.alignment")} <= allowed
