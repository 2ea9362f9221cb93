"""What all losses share: gradcheck, invariances, edges, bad input."""

import ast
import doctest
import importlib
import math
import sys
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
    MarginMSE,
    NoLoss,
    Pairs,
    PairSettings,
    Preference,
    QRRankerLoss,
    Spread,
    TeacherKL,
    WeightedLosses,
    mine_pairs,
)
from tests.alignment.listing import GRADES, REFERENCE, Z, listing

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
    TeacherKL(),  # without a teacher; with one: test_distillation.py
    MarginMSE(),
]


each_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)


@pytest.fixture
def unchecked_shapes(monkeypatch):
    """As outside of the tests, where jaxtyping checks nothing and the code's own errors have to speak."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


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


@pytest.mark.parametrize(
    "loss", [x for x in LOSSES if not isinstance(x, Spread | NoLoss | TeacherKL | MarginMSE)], ids=repr
)
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
    known = {"preference", "graded_kl", "spread", "infonce", "listmle", "lambdarank", "qrranker", "none"}
    assert set(names.values()) == known | {"teacher_kl", "margin_mse"}
    assert len(names) == len(known) + 2


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
    with pytest.raises(ValueError, match=r"terms is \{\}"):
        WeightedLosses({})
    with pytest.raises(ValueError, match=r"terms\.spread\.0 is -1\.0"):
        WeightedLosses({"spread": (-1.0, Spread())})
    with pytest.raises(ValueError, match=r"terms\.\w+\.0 is nan"):
        WeightedLosses({"spread": (math.nan, Spread())})


def test_a_missing_reference_is_refused():
    with pytest.raises(ValueError, match=r"kappa 1\.0 .* reference is None"):
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
        ([0.0, 1.0], [0, 1], NO_PAIRS, [0.0], r"reference scores of shape \(1,\), expected one per passage, 2"),
        ([0.0, 1.0], [0, 1], NO_PAIRS, [0.0, -math.inf], "reference is -inf at context position 1"),
        (
            [0.0, 1.0],
            [0, 1],
            Pairs(torch.tensor([2]), torch.tensor([0]), torch.ones(1)),
            None,
            "pairs.better holds positions 2 to 2, expected 0 to 1",
        ),
        (
            [0.0, 1.0],
            [0, 1],
            Pairs(torch.tensor([1, 1]), torch.tensor([0, -1]), torch.ones(2)),
            None,
            "pairs.worse holds positions -1 to 0, expected 0 to 1",
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
        (lambda: Preference(beta=0.0), "Preference.beta is 0.0"),
        (lambda: Preference(kappa=-0.5), "Preference.kappa is -0.5"),
        (lambda: Preference(margin=math.inf), "Preference.margin is inf"),
        (lambda: GradedKL(tau=0.0), "GradedKL.tau is 0.0"),
        (lambda: Spread(sigma0=-1.0), "Spread.sigma0 is -1.0"),
        (lambda: InfoNCE(temperature=0.0), "InfoNCE.temperature is 0.0"),
        (lambda: QRRankerLoss(temperature=-1.0), "QRRankerLoss.temperature is -1.0"),
        (lambda: LambdaRank(cutoff=0), "LambdaRank.cutoff is 0"),
        (lambda: LambdaRank(sigma=math.nan), "LambdaRank.sigma is nan"),
    ],
)
def test_bad_parameters_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("module", ["pairwise", "regularizers", "contrastive", "listwise", "combined", "distillation"])
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
    allowed = {"torch", "torch.nn.functional", "jaxtyping", "headrank.ranking", "headrank.settings"}
    assert {name for name in third_party if not name.startswith("headrank.alignment")} <= allowed
