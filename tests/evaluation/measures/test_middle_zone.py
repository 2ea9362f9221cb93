import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrank.evaluation import measure_middle_zone
from headrank.evaluation.measures.middle_zone import BINS, QUARTERS, homogenization, spread_by_quarter
from headrank.evaluation.measures.selectivity import Selectivity, ZoneCounts, selectivities, selectivity
from headrank.ranking import ContextScores, Ranking, middle_zone


def letters(n):
    return tuple("abcdefghijklmnopqrstuvwxyz"[:n])


def listed(scores, masses=None, query_id="q"):
    ids = letters(len(scores))
    context = ContextScores(query_id, ids, tuple(map(float, scores)), masses)
    return context, Ranking.from_scores(query_id, ids, context.scores)


def measure(scores, grades, threshold=1, masses=None):
    context, ranking = listed(scores, masses)
    return measure_middle_zone([context], {"q": ranking}, {"q": grades}, relevance_threshold=threshold)


@pytest.mark.parametrize(
    ("n", "positions"),
    [
        (4, [1, 2]),
        (5, [2, 3]),  # 1.25 <= p < 3.75
        (6, [2, 3, 4]),  # 1.5 <= p < 4.5
        (7, [2, 3, 4, 5]),  # 1.75 <= p < 5.25
        (8, [2, 3, 4, 5]),
        (40, list(range(10, 30))),
    ],
)
def test_the_zone(n, positions):
    assert list(range(n))[middle_zone(n)] == positions


@given(n=st.integers(0, 300))
def test_the_zone_is_its_definition_and_the_middle_bins(n):
    zone = list(range(n))[middle_zone(n)]
    assert zone == [p for p in range(n) if n / 4 <= p < 3 * n / 4]
    assert zone == [p for p in range(n) if 2 <= BINS * p // n < 6]


def test_selectivity_by_hand():
    # a b | c d e f | g h in context order: the zone is c to f, the top quartile two passages, ranked d, g, c, ...
    zone = measure([0, 1, 6, 9, 3, 2, 8, 4], {"c": 1, "d": 2, "a": 3, "g": 0, "f": 0})
    assert zone.zone == (ZoneCounts(relevant=2, relevant_top=1, irrelevant=2, irrelevant_top=0),)
    assert (zone.lists, zone.short_lists) == (1, 0)
    assert zone.positions[0] == ZoneCounts(1, 0, 0, 0)  # a
    assert zone.positions[3] == ZoneCounts(1, 1, 0, 0)  # d
    assert zone.positions[6] == ZoneCounts(0, 0, 1, 1)  # g
    assert selectivity(zone.zone) == Selectivity(0.5, 0.0, 0.5, None, 2, 2)


def test_relevant_means_the_threshold_and_unjudged_is_irrelevant():
    zone = measure([0, 1, 6, 9, 3, 2, 8, 4], {"c": 1, "d": 2}, threshold=2)
    assert zone.zone == (ZoneCounts(1, 1, 3, 0),)


def test_shares_pool_passages_over_lists():
    zone = (ZoneCounts(1, 1, 3, 0), ZoneCounts(3, 0, 1, 1))
    found = selectivity(zone)
    assert (found.relevant, found.irrelevant, found.difference) == (0.25, 0.25, 0.0)


@pytest.mark.parametrize(
    ("zone", "relevant", "irrelevant"),
    [((), None, None), ((ZoneCounts(2, 1, 0, 0),) * 2, 0.5, None), ((ZoneCounts(0, 0, 4, 1),) * 2, None, 0.25)],
)
def test_a_kind_that_is_missing_has_no_share_and_no_difference(zone, relevant, irrelevant):
    found = selectivity(zone)
    assert (found.relevant, found.irrelevant) == (relevant, irrelevant)
    assert found.difference is None
    assert found.interval is None


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_lists_without_a_top_quartile_are_left_out_and_counted(n):
    zone = measure(list(range(n)), {"a": 1, "b": 1})
    assert (zone.zone, zone.lists, zone.short_lists) == ((), 0, 1)
    assert zone.homogenization.deviation is None
    assert sum(zone.positions, ZoneCounts()) == ZoneCounts()


def test_a_random_reranker_lifts_a_quarter_of_both_kinds():
    rng = random.Random(0)
    contexts, rankings, qrels = [], {}, {}
    for i in range(400):
        context, rankings[f"q{i}"] = listed([rng.random() for _ in range(20)], query_id=f"q{i}")
        contexts.append(context)
        qrels[f"q{i}"] = {passage: int(rng.random() < 0.3) for passage in context.passage_ids}
    zone = measure_middle_zone(contexts, rankings, qrels)
    found = selectivity(zone.zone)
    assert found.relevant == pytest.approx(0.25, abs=0.03)  # 1,200 passages: one standard error is .013
    assert found.irrelevant == pytest.approx(0.25, abs=0.03)
    assert found.interval is not None
    assert found.interval[0] < 0 < found.interval[1]
    for counts in zone.positions:
        assert counts.irrelevant_share == pytest.approx(0.25, abs=0.07)


def test_the_interval_holds_the_estimate_comes_again_and_narrows_with_more_lists():
    rng = random.Random(1)
    zone = [ZoneCounts(5, rng.randint(1, 4), 5, rng.randint(0, 2)) for _ in range(200)]
    few, many = selectivity(zone[:20], seed=3), selectivity(zone, seed=3)
    assert few.interval is not None
    assert many.interval is not None
    assert few.difference is not None
    assert few.interval[0] < few.difference < few.interval[1]
    assert selectivity(zone[:20], seed=3) == few
    assert selectivity(zone[:20], seed=4).interval != few.interval
    assert many.interval[1] - many.interval[0] < (few.interval[1] - few.interval[0]) / 2


def test_the_interval_is_the_bootstrap_of_lists_drawn_one_by_one():
    rng = np.random.default_rng(0)
    zone = [ZoneCounts(4, int(rng.integers(0, 5)), 8, int(rng.integers(0, 9))) for _ in range(25)]
    counts = np.array([[c.relevant, c.relevant_top, c.irrelevant, c.irrelevant_top] for c in zone])
    sums = counts[rng.integers(0, 25, size=(20_000, 25))].sum(axis=1)
    low, high = np.quantile(sums[:, 1] / sums[:, 0] - sums[:, 3] / sums[:, 2], [0.025, 0.975])
    assert selectivity(zone, resamples=20_000).interval == pytest.approx((low, high), abs=0.01)


def test_an_interval_needs_most_resamples_to_have_both_kinds():
    one_of_many = [ZoneCounts(1, 1, 4, 1)] + [ZoneCounts(0, 0, 4, 1)] * 1
    assert selectivity(one_of_many).interval is not None  # drawn in three of four resamples
    assert selectivity([ZoneCounts(1, 1, 0, 0), ZoneCounts(0, 0, 1, 0)]).interval is None  # both in one of two


def test_too_few_resamples_are_refused():
    with pytest.raises(ValueError, match="999 bootstrap resamples: expected 1000 or more"):
        selectivity([], resamples=999)


def test_homogenization_by_hand():
    context, _ = listed([9, 1, 2.0, 2.05, 4, 4.06, 0, 10], (1.0, 1.0, 1.0, 1.0, 2.0, 4.0, 9.0, 9.0))
    found = homogenization(context)  # the zone is positions 2 to 5; the range of the list 10, a hundredth of it 0.1
    zone = [2.0, 2.05, 4, 4.06]
    centre = sum(zone) / 4
    assert found.deviation == pytest.approx(math.sqrt(sum((z - centre) ** 2 for z in zone) / 4))
    assert found.entropy == pytest.approx(1.75 / 2)  # of 1/8 1/8 1/4 1/2: 1.75 bits of 2
    assert found.nearly_equal == pytest.approx(2 / 3)


def test_neighbours_are_those_in_order_of_score():
    context, _ = listed([0, 0, 1.0, 5.0, 1.05, 5.05, 10, 10])
    assert homogenization(context).nearly_equal == pytest.approx(2 / 3)


def test_constant_scores_are_as_homogeneous_as_can_be():
    context, _ = listed([3.0] * 8, (0.25,) * 8)
    found = homogenization(context)
    assert (found.deviation, found.entropy, found.nearly_equal) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize("masses", [None, (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0)])
def test_no_mass_in_the_zone_has_no_entropy(masses):
    context, _ = listed(range(8), masses)
    assert homogenization(context).entropy is None


def test_all_mass_on_one_passage_has_entropy_0():
    context, _ = listed(range(8), (1.0, 1.0, 0.0, 0.0, 5.0, 0.0, 1.0, 1.0))
    assert homogenization(context).entropy == 0.0


@pytest.mark.parametrize("n", range(4))
def test_homogenization_of_tiny_lists_is_defined(n):
    context, _ = listed(range(n), (1.0,) * n)
    found = homogenization(context)
    assert (found.deviation is None) == (n < 2)
    assert (found.entropy is None) == (n < 3)


@given(masses=st.lists(st.floats(0, 1e6), min_size=8, max_size=8))
def test_entropy_is_a_share(masses):
    context, _ = listed(range(8), tuple(masses))
    entropy = homogenization(context).entropy
    assert entropy is None or 0 <= entropy <= 1


def test_homogenization_is_averaged_over_lists_that_have_it():
    first, ranking = listed(range(8), (1.0,) * 8)
    second = ContextScores("p", first.passage_ids, (0.0,) * 8)
    rankings = {"q": ranking, "p": Ranking.from_scores("p", second.passage_ids, second.scores)}
    found = measure_middle_zone([first, second], rankings, {}).homogenization
    assert found.deviation == pytest.approx(math.sqrt(1.25) / 2)
    assert found.entropy == 1.0


def test_values_of_each_list_are_kept():
    first, ranking = listed([9, 1, 2.0, 2.05, 4, 4.06, 0, 10])
    short = ContextScores("s", ("a",), (1.0,))
    rankings = {"q": ranking, "s": Ranking.from_scores("s", ("a",), (1.0,))}
    zone = measure_middle_zone([first, short], rankings, {})
    assert zone.per_list == (homogenization(first),)
    assert zone.spread == (spread_by_quarter(first),)


def test_spread_by_place_by_hand():
    # 8 passages: each quarter two neighbours, whose standard deviation is half their distance
    scores = [0.0, 1.0, 3.0, 3.0, 3.0, 5.0, 9.0, 0.0]
    context, _ = listed(scores)
    whole = float(np.std(scores))
    expected = [0.5, 1.0, 0.0, 0.0, 1.0, 2.0, 4.5]
    assert spread_by_quarter(context) == pytest.approx([value / whole for value in expected])


@pytest.mark.parametrize("scores", [[1.0] * 8, [1.0, 2.0, 3.0, 4.0], []])
def test_spread_by_place_where_there_is_none(scores):
    # scores all the same; and four passages, of which no quarter holds two
    context, _ = listed(scores)
    assert spread_by_quarter(context) == (None,) * QUARTERS


def test_a_ranking_may_hold_more_than_the_list():
    context, _ = listed([5, 4, 1, 3, 2, 0, 6, 7])
    ranking = Ranking.from_scores("q", ("x", "y", "c", *"abdefgh"), [float(-i) for i in range(10)])
    assert measure_middle_zone([context], {"q": ranking}, {"q": {"c": 1}}).zone == (ZoneCounts(1, 1, 3, 0),)


def two(scores, masses=None):
    return ContextScores("q", ("a", "b"), scores, masses)


def test_faults_are_named():
    context, ranking = listed(range(8))
    other = Ranking.from_scores("q", tuple("abcdefg"), [0.0] * 7)
    twice = ContextScores("q", ("a", "a"), (1.0, 2.0))
    for contexts, rankings, message in [
        ([context, context], {"q": ranking}, "query 'q' has two lists"),
        ([context], {}, "query 'q' .* no ranking"),
        ([context], {"q": other}, "1 of the 8 passages in context order are not in the ranking, such as 'h'"),
        ([twice], {"q": ranking}, "query 'q': a passage .*twice"),
        ([two((0.0, math.nan))], {"q": ranking}, "passage 'b': score nan, expected a finite number"),
        ([two((0.0, 1.0), (1.0, -1.0))], {"q": ranking}, "passage 'b': mass -1.0, expected a finite number, 0 or more"),
        ([two((0.0, 1.0), (1.0, math.inf))], {"q": ranking}, "passage 'b': mass inf"),
    ]:
        with pytest.raises(ValueError, match=message):
            measure_middle_zone(contexts, rankings, {})


def test_parts_of_the_context_have_the_selectivity_that_each_has_alone():
    rng = random.Random(5)

    def counts():
        relevant, irrelevant = rng.randint(0, 3), rng.randint(0, 5)
        return ZoneCounts(relevant, rng.randint(0, relevant), irrelevant, rng.randint(0, irrelevant))

    parts = [[counts() for _ in range(12)] for _ in range(3)] + [[ZoneCounts(1, 1, 0, 0)] * 12]
    together = selectivities(parts, seed=3)
    assert together == tuple(selectivity(part, seed=3) for part in parts)
    assert all(one.interval[0] <= one.difference <= one.interval[1] for one in together[:3])
    assert (together[3].difference, together[3].interval) == (None, None)
    assert together[0].difference == sum(parts[0], ZoneCounts()).difference


def test_places_in_the_context_have_intervals_where_they_hold_both_kinds(make_benchmark):
    zone = make_benchmark().systems["headrank"].middle_zone
    pairs = list(zip(zone.positions, zone.position_intervals, strict=True))
    assert [counts.difference is None for counts, _ in pairs] == [False] * 6 + [True] * 2  # the last are not judged
    for counts, interval in pairs[:6]:
        assert -1 <= interval[0] <= counts.difference <= interval[1] <= 1
    assert [interval for _, interval in pairs[6:]] == [None, None]
