"""The nouns: what a ranking promises, and what the data classes refuse."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrank.ranking import CandidateList, ContextScores, Passage, Query, RankedPassage, Ranking

QUERY = Query("q1", "why?")


def passages(*ids: str) -> tuple[Passage, ...]:
    return tuple(Passage(i, f"text of {i}") for i in ids)


def test_ranking_by_score_best_first():
    ranking = Ranking.from_scores("q1", ["a", "b", "c"], [0.5, -1.0, 2.0])
    assert ranking.results == (RankedPassage("c", 2.0, 1), RankedPassage("a", 0.5, 2), RankedPassage("b", -1.0, 3))
    assert ranking.passage_ids == ("c", "a", "b")
    assert ranking.scores == (2.0, 0.5, -1.0)
    assert len(ranking) == 3


def test_ties_keep_the_order_given():
    ranking = Ranking.from_scores("q1", ["z", "m", "a", "b"], [1.0, 2.0, 1.0, 1.0])
    assert ranking.passage_ids == ("m", "z", "a", "b")  # neither by id nor reversed
    zeros = Ranking.from_scores("q1", ["b", "a"], [0.0, -0.0])
    assert zeros.passage_ids == ("b", "a")


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(score):
    with pytest.raises(ValueError, match=r"'q1', passage 'b': score .*expected a finite number"):
        Ranking.from_scores("q1", ["a", "b"], [1.0, score])


def test_repeated_ids_are_refused():
    with pytest.raises(ValueError, match=r"'q1'.*twice"):
        Ranking.from_scores("q1", ["a", "a"], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"'q1': passage 'b' appears twice"):
        CandidateList(QUERY, passages("b", "c", "b"))


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="1 scores for 2 passages"):
        Ranking.from_scores("q1", ["a", "b"], [1.0])
    with pytest.raises(ValueError, match="1 first-stage scores for 2 passages"):
        CandidateList(QUERY, passages("a", "b"), (1.0,))
    with pytest.raises(ValueError, match="'q1'"):
        ContextScores("q1", ("a", "b"), (1.0,))
    with pytest.raises(ValueError, match="'q1'"):
        ContextScores("q1", ("a", "b"), (1.0, 2.0), (1.0,))


def test_nothing_to_rank():
    assert len(Ranking.from_scores("q1", [], [])) == 0
    assert len(CandidateList(QUERY, ())) == 0
    assert CandidateList(QUERY, (), ()).top(3).passage_ids == ()


def test_top_cuts_passages_and_scores_alike():
    whole = CandidateList(QUERY, passages("a", "b", "c"), (3.0, 2.0, 1.0))
    assert whole.top(2) == CandidateList(QUERY, passages("a", "b"), (3.0, 2.0))
    assert whole.top(9) == whole
    assert CandidateList(QUERY, passages("a", "b")).top(1).first_stage_scores is None


@given(st.lists(st.integers(-3, 3), max_size=20))
def test_a_ranking_is_a_stable_permutation(values):
    ids = [f"d{i}" for i in range(len(values))]
    ranking = Ranking.from_scores("q", ids, [float(v) for v in values])
    assert sorted(ranking.passage_ids) == sorted(ids)
    assert [r.rank for r in ranking.results] == list(range(1, len(values) + 1))
    for better, worse in zip(ranking.results, ranking.results[1:], strict=False):
        assert better.score >= worse.score
        if better.score == worse.score:
            assert ids.index(better.id) < ids.index(worse.id)
    for result in ranking.results:
        assert result.score == values[ids.index(result.id)]
