import json

import pytest

from headrank.evaluation import BenchmarkResult, SystemRun, score_benchmark
from headrank.ranking import ContextScores, Ranking


def run(**orders):
    return {q: Ranking.from_scores(q, list(ids), [float(-i) for i in range(len(ids))]) for q, ids in orders.items()}


QRELS = {"p": {"a": 1, "b": 0}, "q": {"c": 2, "d": 0}, "r": {"e": 0}, "s": {"f": 1}}


def score(systems, **changes):
    settings = {"query_ids": list(QRELS), "reference": "first", "metrics": ["mrr@10"], **changes}
    return score_benchmark("toy", systems, QRELS, **settings)


def test_a_benchmark_by_hand():
    systems = {"first": SystemRun(run(p="ba", q="dc", r="e")), "mine": SystemRun(run(p="ab", q="dc", r="e"))}
    result = score(systems)
    assert result.systems["first"].means == {"mrr@10": 0.25}
    assert result.systems["mine"].per_query == {"mrr@10": (1.0, 0.5, 0.0, 0.0)}
    c = result.systems["mine"].comparisons["mrr@10"]
    assert (c.wins, c.ties, c.losses, c.difference, c.p_randomization) == (1, 3, 0, 0.125, 1.0)
    assert result.systems["first"].comparisons == {}
    assert (result.queries_without_relevant, result.queries_without_candidates) == (1, 1)
    assert result.systems["mine"].middle_zone is None


def test_the_threshold_reaches_all_binary_measures(make_benchmark):
    systems = {"first": SystemRun(run(p="ab", q="cd"))}
    result = score(systems, relevance_threshold=2)
    assert result.systems["first"].per_query["mrr@10"] == (0.0, 1.0, 0.0, 0.0)
    assert result.queries_without_relevant == 3


def test_rankings_and_contexts_of_other_queries_are_not_looked_at():
    context = ContextScores("elsewhere", ("a",), (1.0,))
    result = score({"first": SystemRun(run(p="ab", elsewhere="a"), (context,))}, query_ids=["p"])
    assert result.systems["first"].means == {"mrr@10": 1.0}
    assert result.systems["first"].middle_zone is None


def test_the_better_system_wins(make_benchmark):
    result = make_benchmark()
    mine, chance = result.systems["headrank"], result.systems["random"]
    assert mine.comparisons["ndcg@10"].p_randomization < 0.01
    assert mine.comparisons["ndcg@10"].difference > 0 > chance.comparisons["ndcg@10"].difference
    assert mine.selectivity.difference > 0.3
    assert mine.middle_zone.lists == 30
    assert 0 < mine.middle_zone.homogenization.entropy < 1


def test_the_same_input_gives_the_same_result(make_benchmark):
    assert make_benchmark() == make_benchmark()


def test_a_result_survives_json_exactly(make_benchmark):
    result = make_benchmark(probable=("headrank",))
    assert result.systems["headrank"].probability is not None
    assert BenchmarkResult.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False))) == result
    assert BenchmarkResult.from_dict(result.to_dict()) == result
    content = result.to_dict()
    for system in content["systems"].values():
        del system["probability"]  # as in files of earlier versions
    assert BenchmarkResult.from_dict(content).systems["headrank"].probability is None


def test_a_result_without_contexts_survives_json():
    result = score({"first": SystemRun(run(p="ab")), "mine": SystemRun(run(p="ba"))})
    assert BenchmarkResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


@pytest.mark.parametrize("broken", [{}, {"name": "x"}, {"systems": []}])
def test_what_is_no_result_is_refused(broken):
    good = score({"first": SystemRun(run(p="ab"))}).to_dict()
    content = {**good, **broken} if "systems" in broken else broken
    with pytest.raises(ValueError, match="not a benchmark's result"):
        BenchmarkResult.from_dict(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "other"}, "benchmark 'toy': the reference 'other' is not among the systems first"),
        ({"metrics": []}, "at least one and none twice"),
        ({"metrics": ["mrr@10", "mrr@10"]}, "at least one and none twice"),
        ({"metrics": ["f1"]}, "benchmark 'toy', system 'first': unknown metric 'f1'"),
        ({"query_ids": ["p", "z"]}, "benchmark 'toy', system 'first': query 'z' has no judgement"),
    ],
)
def test_faults_name_benchmark_and_system(changes, message):
    with pytest.raises(ValueError, match=message):
        score({"first": SystemRun(run(p="ab"))}, **changes)
