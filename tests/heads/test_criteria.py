"""Each criterion on a table worked by hand."""

import math
from dataclasses import replace

import pytest
import torch

from headrank.errors import ConfigError
from headrank.heads import (
    AllHeads,
    Contrastive,
    Criterion,
    EntropyRegularized,
    GivenHeads,
    HeadTable,
    LayerWindow,
    PerHeadNdcg,
    QueryFocused,
    RandomHeads,
)
from headrank.model import CalibrationSettings, head_calibrated, passage_scores
from headrank.model.calibration import length_divisor
from tests.heads.toy import labelled, table

RAW = CalibrationSettings("none")
SUBTRACT = CalibrationSettings("residual", 0.0)

# Four heads (two layers of two), two queries. Passage 0 is relevant to the first, passage 2 to the second.
TABLE = table(
    labelled(
        [[0.4, 0.2, 0.2], [0.1, 0.1, 0.2], [0.3, 0.3, 0.0], [0.0, 0.0, 0.0]],
        [1, 0, 0],
        null=[[0.4, 0.0, 0.0], [0.0, 0.1, 0.2], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        filtered=[[0.1, 0.0, 0.0], [0.2, 0.0, 0.0], [0.3, 0.9, 0.9], [0.4, 0.0, 0.0]],
        query_id="one",
    ),
    labelled(
        [[0.1, 0.1, 0.4], [0.3, 0.1, 0.2], [0.3, 0.0, 0.0], [0.0, 0.0, 0.0]],
        [0, 0, 2],
        filtered=[[0.0, 0.0, 0.3], [0.0, 0.0, 0.0], [0.9, 0.9, 0.1], [0.0, 0.0, 0.2]],
        query_id="two",
    ),
)


def with_threshold(threshold: int) -> HeadTable:
    return table(*(replace(one, relevance_threshold=threshold) for one in TABLE.lists))


def judge(criterion: Criterion, settings: CalibrationSettings = RAW, of=TABLE) -> list[float]:
    return criterion(of, settings).tolist()


# discriminability of the raw scores: pairs (0, 1), (0, 2) of the first list, (2, 0), (2, 1) of the second
DISC = [(1.0 + 1.0) / 2, (0.25 + 0.5) / 2, (0.75 + 0.25) / 2, 0.5]


def entropy(*masses: float) -> float:
    shares = [m / sum(masses) for m in masses if m]
    return -sum(p * math.log(p) for p in shares) / math.log(3)


ENTROPY = [
    (entropy(0.4, 0.2, 0.2) + entropy(0.1, 0.1, 0.4)) / 2,
    (entropy(0.1, 0.1, 0.2) + entropy(0.3, 0.1, 0.2)) / 2,
    (entropy(0.3, 0.3) + 0) / 2,
    1.0,
]


def test_entropy_regularized():
    assert judge(EntropyRegularized(weight=0.0)) == pytest.approx(DISC)
    want = [d - 0.3 * h for d, h in zip(DISC, ENTROPY, strict=True)]
    assert judge(EntropyRegularized(weight=0.3)) == pytest.approx(want)
    priced = [w - 0.2 * layer / 2 for w, layer in zip(want, (0, 0, 1, 1), strict=True)]
    assert judge(EntropyRegularized(weight=0.3, depth_price=0.2)) == pytest.approx(priced)


def test_discriminability_is_of_calibrated_scores_and_entropy_of_raw_ones():
    # minus the null query: head 0 is (0, .2, .2) on the first list, head 1 (.1, 0, 0)
    disc = [(0.0 + 1.0) / 2, (1.0 + 0.5) / 2, (0.75 + 0.25) / 2, 0.5]
    want = [d - 0.3 * h for d, h in zip(disc, ENTROPY, strict=True)]
    assert judge(EntropyRegularized(weight=0.3), SUBTRACT) == pytest.approx(want)


@pytest.mark.parametrize("temperature", [0.1, 0.001])
def test_contrastive(temperature):
    def share(positive, *negatives):
        weights = [math.exp((n - positive) / temperature) for n in negatives]
        return 1 / (1 + sum(weights))

    want = [
        (share(0.4, 0.2, 0.2) + share(0.4, 0.1, 0.1)) / 2,
        (share(0.1, 0.1, 0.2) + share(0.2, 0.3, 0.1)) / 2,
        (share(0.3, 0.3, 0.0) + share(0.0, 0.3, 0.0)) / 2,
        (share(0, 0, 0) + share(0, 0, 0)) / 2,
    ]
    assert judge(Contrastive(temperature=temperature)) == pytest.approx(want, abs=1e-6)
    assert judge(Contrastive(temperature=temperature), SUBTRACT) == pytest.approx(want, abs=1e-6)  # uncalibrated
    only_second = judge(Contrastive(temperature=temperature), of=with_threshold(2))
    assert only_second[0] == pytest.approx(share(0.4, 0.1, 0.1))


def test_contrastive_takes_each_relevant_passage_against_the_irrelevant_ones():
    of = table(labelled([[0.3, 0.1, 0.2], [0.1, 0.1, 0.1]], [1, 0, 1]))
    want = [(1 / (1 + math.exp(-2)) + 1 / (1 + math.exp(-1))) / 2, 0.5]
    assert judge(Contrastive(temperature=0.1), of=of) == pytest.approx(want)


def test_contrastive_averages_after_the_softmax():
    """Over context orders as over lists: a head that swaps its passages is not one that never prefers any."""
    contexts = torch.tensor([[[0.9, 0.1]], [[0.3, 0.5]]])
    item = replace(labelled(contexts.mean(0), [1, 0]), contexts=contexts)
    expected = (1 / (1 + math.exp(-0.8 / 0.2)) + 1 / (1 + math.exp(0.2 / 0.2))) / 2
    assert judge(Contrastive(temperature=0.2), of=table(item)) == pytest.approx([expected])
    assert judge(Contrastive(temperature=0.2), of=table(replace(item, contexts=None))) != pytest.approx([expected])


def test_query_focused():
    assert judge(QueryFocused()) == pytest.approx([(0.1 + 0.3) / 2, (0.2 + 0.0) / 2, (0.3 + 0.1) / 2, (0.4 + 0.2) / 2])
    assert judge(QueryFocused(), of=with_threshold(2)) == pytest.approx([0.3, 0.0, 0.1, 0.2])
    several = table(labelled([[0.0] * 3], [1, 0, 2], filtered=[[0.2, 0.9, 0.4]]))
    assert judge(QueryFocused(), of=several) == pytest.approx([0.3])
    with pytest.raises(ValueError, match=r"query_focused: .* token-filtered"):
        judge(QueryFocused(), of=table(labelled([[0.1, 0.2]], [0, 1])))


def test_query_focused_takes_lists_of_relevant_passages_alone():
    """It compares with nothing, so a list without an irrelevant passage counts too."""
    of = table(
        labelled([[0.0] * 2], [1, 2], filtered=[[0.2, 0.4]]), labelled([[0.0] * 2], [1, 0], filtered=[[0.5, 0.0]])
    )
    assert judge(QueryFocused(), of=of) == pytest.approx([(0.3 + 0.5) / 2])


def test_per_head_ndcg():
    def at(rank):
        return 1 / math.log2(rank + 1)

    tied = (at(1) + at(2) + at(3)) / 3
    want = [
        (at(1) + at(1)) / 2,
        ((at(2) + at(3)) / 2 + at(2)) / 2,
        ((at(1) + at(2)) / 2 + (at(2) + at(3)) / 2) / 2,
        tied,
    ]
    assert judge(PerHeadNdcg()) == pytest.approx(want)
    assert judge(PerHeadNdcg(cutoff=1))[0] == 1.0
    assert judge(PerHeadNdcg(), SUBTRACT)[1] == pytest.approx((at(1) + at(2)) / 2)  # by the scorer's calibration


def test_a_head_that_sees_no_passage_does_not_borrow_the_first_stages_ndcg():
    """Of a sliding window, say. In first-stage order, all its ties would rank as the first stage does."""
    of = table(labelled([[0.0, 0.0, 0.0, 0.0], [0.2, 0.3, 0.1, 0.1]], [2, 1, 0, 0]))
    blind, seeing = judge(PerHeadNdcg(), of=of)
    assert blind < seeing


@pytest.mark.parametrize("criterion", [Contrastive(), QueryFocused()])
def test_a_threshold_that_no_list_reaches(criterion):
    with pytest.raises(ValueError, match=r"threshold \(3\)"):
        judge(criterion, of=with_threshold(3))


def test_each_list_counts_by_the_threshold_of_its_own_data_set():
    """Lists of two data sets: grade 1 is relevant in one of them and not in the other."""
    first = labelled([[0.0] * 3], [1, 0, 2], filtered=[[0.2, 0.9, 0.4]], threshold=1)
    second = labelled([[0.0] * 3], [1, 0, 2], filtered=[[0.2, 0.9, 0.4]], threshold=2)
    assert judge(QueryFocused(), of=table(first, second)) == pytest.approx([(0.3 + 0.4) / 2])
    first, second = (labelled([[0.3, 0.1, 0.2]], [1, 0, 2], threshold=threshold) for threshold in (1, 2))

    def share(*advantages):
        return 1 / (1 + sum(math.exp(-10 * advantage) for advantage in advantages))

    expected = ((share(0.2) + share(0.1)) / 2 + share(-0.1, 0.1)) / 2
    assert judge(Contrastive(temperature=0.1), of=table(first, second)) == pytest.approx([expected])


def test_all_heads():
    assert judge(AllHeads()) == [0.0] * 4


def test_layer_window():
    # means of the layers' discriminabilities: .6875, .5 (see DISC)
    assert judge(LayerWindow(layers=1)) == pytest.approx([*DISC[:2], -math.inf, -math.inf])
    assert judge(LayerWindow(layers=9)) == pytest.approx(DISC)  # no more than there are
    peak = table(labelled([[0.0, 0.1], [0.2, 0.1], [0.3, 0.1], [0.0, 0.1]], [1, 0], width=1))
    assert judge(LayerWindow(layers=2), of=peak) == [-math.inf, 1.0, 1.0, -math.inf]


def test_random_heads():
    values = judge(RandomHeads(seed=1))
    assert sorted(values) == [0.0, 1.0, 2.0, 3.0]
    assert values == judge(RandomHeads(seed=1))
    assert len({tuple(judge(RandomHeads(seed=s))) for s in range(12)}) > 3


def test_given_heads():
    assert judge(GivenHeads(heads=[[1, 0], (0, 1)])) == [-math.inf, 0.0, 0.0, -math.inf]
    with pytest.raises(ValueError, match=r"given heads \[\(2, 0\), \(21, 8\)\]: the model has no such heads"):
        judge(GivenHeads(heads=[[21, 8], [0, 0], [2, 0]]))
    for heads, found in (([], r"heads is \[\]"), ([[0.5, 0]], r"heads\.0\.0 is 0\.5"), ([[1, 2], [1, 2]], r"\[1, 2\]"),
        ([[1]], r"\[\[1\]\]"), ([[-1, 0]], r"heads\.0\.0 is -1"), ([[True, 0]], r"heads\.0\.0 is True")):  # fmt: skip
        with pytest.raises(ConfigError, match=found):
            GivenHeads(heads=heads)


def test_every_criterion_is_one():
    classes = [AllHeads, Contrastive, EntropyRegularized, GivenHeads, LayerWindow, PerHeadNdcg, QueryFocused]
    made = [cls() if cls is not GivenHeads else cls([[0, 0]]) for cls in [*classes, RandomHeads]]
    assert all(isinstance(criterion, Criterion) for criterion in made)
    assert len({criterion.name for criterion in made}) == len(made)


@pytest.mark.parametrize("calibration", ["none", "residual", "log_ratio"])
@pytest.mark.parametrize("norm", ["none", "tokens", "sqrt_tokens"])
def test_a_heads_calibration_is_the_scorers_for_this_head_alone(calibration, norm):
    """What criteria see of a head ranks as the scorer with that one head does."""
    item = TABLE.lists[0].scores
    item = type(item)(item.heads, item.query, item.null, torch.tensor([4, 1, 9]))
    kind = CalibrationSettings(calibration, length_norm=norm)
    got = head_calibrated(item, kind)
    for row, head in zip(got, item.heads, strict=True):
        z = passage_scores(item.pick([head]), kind)
        row = torch.log(1e-6 / length_divisor(item.lengths, norm) + row) if calibration == "none" else row
        torch.testing.assert_close(row, z)


def test_calibration_without_the_null_query():
    scores = TABLE.lists[0].scores
    bare = type(scores)(scores.heads, scores.query, None, scores.lengths)
    assert torch.equal(head_calibrated(bare, RAW), scores.query)
    with pytest.raises(ValueError, match="residual needs the null query's scores, which were not read"):
        head_calibrated(bare, SUBTRACT)
