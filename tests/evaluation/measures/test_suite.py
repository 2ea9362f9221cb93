"""Comparisons over a suite: families, macro means, tallies."""

import pytest

from headrank.evaluation import SystemRun, compare_systems, holm, score_benchmark
from headrank.evaluation.measures.suite import Tally
from headrank.ranking import Ranking


def benchmark(name, values, reference="first"):
    """A benchmark with the MRR values given: system -> the rank of each query's only relevant passage."""
    queries = [f"q{i}" for i in range(len(next(iter(values.values()))))]
    qrels = {q: {"r": 1} for q in queries}

    def ranking(query, rank):
        ids = [f"d{i}" for i in range(1, 5)]
        ids.insert(rank - 1, "r")
        return Ranking.from_scores(query, ids, [float(-i) for i in range(5)])

    systems = {
        s: SystemRun({q: ranking(q, rank) for q, rank in zip(queries, ranks, strict=True)})
        for s, ranks in values.items()
    }
    return score_benchmark(name, systems, qrels, query_ids=queries, reference=reference, metrics=["mrr@10"])


SUITE = [
    benchmark("a", {"first": [2, 2, 2, 2, 2, 2], "mine": [1, 1, 1, 1, 1, 1], "other": [1, 2, 2, 2, 2, 2]}),
    benchmark("b", {"first": [1, 2], "mine": [1, 1], "other": [2, 1]}),
    benchmark("c", {"first": [1, 4], "mine": [2, 4], "other": [1, 4]}),
]


def test_each_comparison_is_a_family_over_the_benchmarks():
    compared = compare_systems(SUITE, "mrr@10", "mine", "first")
    raw = [part.test.p_randomization for part in compared.parts]
    # all six queries won: 2 of 2^6 sign flips; one query moved on each of the others: both flips
    assert raw == [2 / 64, 1.0, 1.0]
    # three in the family, whatever other systems there are: 3 x 2/64, then what cannot be smaller
    assert [part.p_holm for part in compared.parts] == [6 / 64, 1.0, 1.0]
    assert compare_systems(SUITE[:1], "mrr@10", "mine", "first").parts[0].p_holm == 2 / 64


def test_means_are_of_benchmarks_and_tallies_of_both():
    compared = compare_systems(SUITE, "mrr@10", "mine", "first")
    assert compared.before == pytest.approx((1 / 2 + 3 / 4 + 5 / 8) / 3)
    assert compared.after == pytest.approx((1 + 1 + 3 / 8) / 3)
    assert compared.benchmarks == Tally(2, 0, 1)
    assert compared.queries == Tally(7, 2, 1)
    assert compared.significant == Tally(0, 3, 0)
    assert compare_systems(SUITE[:1], "mrr@10", "mine", "first").significant == Tally(1, 0, 0)
    tied = compare_systems(SUITE, "mrr@10", "other", "first")
    assert tied.benchmarks == Tally(1, 2, 0)


def test_against_another_system_than_the_reference():
    compared = compare_systems(SUITE, "mrr@10", "mine", "other")
    assert [part.before for part in compared.parts] == [r.systems["other"].means["mrr@10"] for r in SUITE]
    assert [part.test.wins for part in compared.parts] == [5, 1, 0]
    assert compared.parts[0].test.p_randomization == 2 / 2**5
    mirrored = compare_systems(SUITE, "mrr@10", "other", "mine")
    assert [p.p_holm for p in mirrored.parts] == [p.p_holm for p in compared.parts]
    assert mirrored.queries == Tally(*reversed(compared.queries))


def test_only_benchmarks_with_both_systems_count():
    partial = [SUITE[0], benchmark("d", {"first": [1, 1]})]
    assert [part.benchmark for part in compare_systems(partial, "mrr@10", "mine", "first").parts] == ["a"]
    assert compare_systems(partial[1:], "mrr@10", "mine", "first") is None
    assert compare_systems(SUITE, "mrr@10", "mine", "mine") is None


def test_holm_on_the_example_of_its_tables():
    # sorted .01 .011 .02 .05: times 4, 3, 2, 1 is .04 .033 .04 .05, and none may be below one before it
    assert holm([0.05, 0.01, 0.02, 0.011]) == pytest.approx([0.05, 0.04, 0.04, 0.04])
