"""From a criterion's judgement to heads: ties, counts, depth, the entropy weight by cross-validation."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch

from headrank.heads import (
    AllHeads,
    EntropyRegularized,
    GivenHeads,
    HeadTable,
    LayerWindow,
    PerHeadNdcg,
    RandomHeads,
    choose_entropy_weight,
    select_heads,
)
from headrank.model import CalibrationSettings, Head, ScorerSettings, all_heads
from tests.heads.toy import labelled, table

RAW = CalibrationSettings("none")
TABLE = table(labelled([[0.1, 0.2]] * 6, [1, 0]))  # three layers of two heads
NO_LABELS = HeadTable(all_heads(3, 2), ())


@dataclass(frozen=True)
class Fixed:
    """A criterion that has made up its mind."""

    values: list[float] = field(default_factory=list)
    name: ClassVar[str] = "fixed"
    needs_labels: ClassVar[bool] = False
    needs_filtered: ClassVar[bool] = False
    count: int | None = 2

    def __call__(self, table, settings):
        return torch.tensor(self.values)


def test_the_best_come_first_and_ties_go_to_the_lower_layer_and_head():
    chosen = select_heads(TABLE, Fixed([0.5, 0.9, 0.5, 0.2, 0.9, 0.5]), RAW, count=4)
    assert chosen.heads == (Head(0, 1), Head(2, 0), Head(0, 0), Head(1, 0))
    assert chosen.depth == 3
    assert select_heads(TABLE, Fixed([0.5] * 6), RAW).heads == (Head(0, 0), Head(0, 1))
    # whatever the table's own order
    turned = HeadTable(TABLE.heads[::-1], ())
    assert select_heads(turned, Fixed([0.5] * 6), RAW).heads == (Head(0, 0), Head(0, 1))


def test_counts():
    values = Fixed([3.0, 2.0, 1.0, -float("inf"), 0.0, -1.0])
    assert len(select_heads(TABLE, values, RAW).heads) == 2  # the criterion's own
    assert len(select_heads(TABLE, values, RAW, count=5).heads) == 5
    assert len(select_heads(TABLE, Fixed(values.values, count=None), RAW).heads) == 5  # all that are left
    for count in (0, -1, 6):
        with pytest.raises(ValueError, match=rf"expected {count} heads, criterion fixed leaves 5"):
            select_heads(TABLE, values, RAW, count=count)


def test_nan_is_refused():
    with pytest.raises(ValueError, match=r"criterion fixed: .* NaN for 1 "):
        select_heads(TABLE, Fixed([float("nan"), 1.0, 1.0, 1.0, 1.0, 1.0]), RAW)


def test_the_depth_price_buys_a_shallower_cut():
    # discriminability 1 in layer 2, 3/4 in layer 0
    good, fair = [0.9, 0.1, 0.1], [0.3, 0.1, 0.3]
    of = table(labelled([fair, fair, [0.1] * 3, [0.1] * 3, good, good], [1, 0, 0]))
    free = select_heads(of, EntropyRegularized(weight=0.0, count=2), RAW)
    priced = select_heads(of, EntropyRegularized(weight=0.0, depth_price=0.5, count=2), RAW)
    assert (free.heads, free.depth) == ((Head(2, 0), Head(2, 1)), 3)
    assert (priced.heads, priced.depth) == ((Head(0, 0), Head(0, 1)), 1)


def test_heads_without_labels():
    """Shape alone is enough for these, and nothing is measured."""
    everything = select_heads(NO_LABELS, AllHeads(), RAW)
    assert everything.heads == all_heads(3, 2)
    assert everything.discriminability is None
    assert everything.entropy is None
    assert select_heads(NO_LABELS, GivenHeads(heads=[[2, 1], [0, 0]]), RAW).heads == (Head(0, 0), Head(2, 1))
    assert len(select_heads(NO_LABELS, RandomHeads(count=4), RAW).heads) == 4


@pytest.mark.parametrize("criterion", [EntropyRegularized(), LayerWindow(), PerHeadNdcg()], ids=lambda c: c.name)
def test_criteria_that_need_labels_say_so(criterion):
    with pytest.raises(ValueError, match=f"criterion {criterion.name}: .* labelled lists"):
        select_heads(NO_LABELS, criterion, RAW)


def test_with_labels_every_head_is_measured_whatever_the_criterion():
    chosen = select_heads(TABLE, AllHeads(), RAW)
    assert chosen.discriminability.tolist() == [0.0] * 6
    assert chosen.entropy.shape == (6,)


def made_up(n: int, seed: int = 0):
    """Lists on which head 0 ranks rightly yet evenly, head 1 sharply yet no better than chance."""
    generator = torch.Generator().manual_seed(seed)
    lists = []
    for i in range(n):
        grades = torch.zeros(8, dtype=torch.long)
        grades[torch.randint(8, (1,), generator=generator)] = 1
        even = 0.1 + 0.01 * grades + 0.001 * torch.rand(8, generator=generator)
        sharp = torch.zeros(8)
        sharp[torch.randint(8, (1,), generator=generator)] = 0.8
        lists.append(labelled(torch.stack([even, sharp]), grades, query_id=f"q{i}"))
    return table(*lists)


def test_the_entropy_weight_is_chosen_on_held_out_lists():
    settings = ScorerSettings(calibration="none")
    criterion = EntropyRegularized(count=1)
    best, tried = choose_entropy_weight(made_up(20), criterion, settings, weights=(10.0, 0.0, 0.1))
    assert list(tried) == [0.0, 0.1, 10.0]
    assert tried[0.0] == tried[0.1] == pytest.approx(1.0)  # head 0 is chosen and right on every fold
    assert tried[10.0] < 0.7  # the sharp head was chosen
    assert best == 0.0  # ties go to the smaller weight


def test_the_entropy_weight_may_be_the_larger():
    """Head 0 puts the relevant passage second always (6 pairs of 7 right, nDCG .63); head 1, sharply, first in seven
    lists of ten and last in three (7 of 10 right, nDCG .79)."""
    lists = []
    for i in range(10):
        even = [0.12, 0.13, *[0.1] * 6]
        sharp = [0.0, *[0.01] * 6, 0.9] if i in (1, 2, 5) else [0.9, *[0.01] * 7]
        lists.append(labelled([even, sharp], [1] + [0] * 7, query_id=f"q{i}"))
    settings = ScorerSettings(calibration="none")
    best, tried = choose_entropy_weight(
        table(*lists), EntropyRegularized(count=1), settings, weights=(0.0, 1.0), folds=10
    )
    assert tried[0.0] == pytest.approx(1 / math.log2(3))
    assert tried[1.0] == pytest.approx(0.7 + 0.3 / math.log2(9))
    assert best == 1.0


def test_cross_validation_is_seeded_and_covers_every_list_once():
    settings = ScorerSettings(calibration="none")
    one = choose_entropy_weight(made_up(11), EntropyRegularized(count=1), settings, seed=3)
    assert one == choose_entropy_weight(made_up(11), EntropyRegularized(count=1), settings, seed=3)
    # one list in eleven has grades upside down: its nDCG weighs one eleventh, for it is held out once
    lists = list(made_up(10).lists)
    broken = labelled([[0.1] * 7 + [0.2], [0.1] * 8], [1] + [0] * 7, query_id="broken")
    _, tried = choose_entropy_weight(
        table(*lists, broken), EntropyRegularized(count=1), settings, weights=(0.0,), folds=11
    )
    tied = sum(1 / torch.log2(torch.arange(3.0, 10.0))).item() / 7  # second to eighth place, tied
    assert tried[0.0] == pytest.approx((10 + tied) / 11)


@dataclass(frozen=True)
class Watched(EntropyRegularized):
    """Notes which lists it judged by."""

    tables: ClassVar[list[set[str]]] = []

    def __call__(self, table, settings):
        self.tables.append({item.query_id for item in table.lists})
        return super().__call__(table, settings)


def test_heads_are_never_chosen_on_the_lists_they_are_judged_on():
    lists = made_up(7)
    everything = {item.query_id for item in lists.lists}
    Watched.tables.clear()
    choose_entropy_weight(lists, Watched(count=1), ScorerSettings(calibration="none"), weights=(0.0,), folds=3)
    held_out = [everything - table for table in Watched.tables]
    assert sorted(len(fold) for fold in held_out) == [2, 2, 3]
    assert set().union(*held_out) == everything


def test_the_token_filter_is_left_out_of_cross_validation():
    settings = ScorerSettings(power=0.0, token_filter=True)
    best, _ = choose_entropy_weight(made_up(6), EntropyRegularized(count=1), settings, weights=(0.0, 0.1), folds=3)
    assert best == 0.0


def test_too_few_lists_for_the_folds():
    with pytest.raises(ValueError, match="4 labelled lists for 5 folds"):
        choose_entropy_weight(made_up(4), EntropyRegularized(), ScorerSettings())
