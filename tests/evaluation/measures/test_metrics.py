import ast
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrank.evaluation.measures import compiled_cache
from headrank.evaluation.measures import metrics as module
from headrank.evaluation.measures.metrics import Metric, judged_share, mean, score_queries
from headrank.ranking import RankedPassage, Ranking

ALL = ("ndcg@10", "mrr@10", "map@100", "recall@100", "judged@10")


def ranked(query_id, *ids, score=0.0):
    """A ranking whose scores are all the same: only its order speaks."""
    return Ranking(query_id, tuple(RankedPassage(p, score, r) for r, p in enumerate(ids, 1)))


def one(metric, ids, grades, threshold=1):
    values = score_queries(
        {"q": ranked("q", *ids)}, {"q": grades}, query_ids=["q"], metrics=[metric], relevance_threshold=threshold
    )
    return values[metric][0]


def test_ndcg_has_linear_gain_and_an_ideal_over_all_judged_passages():
    grades = {"a": 3, "b": 1, "c": 2, "lost": 3}
    gained = 1 / math.log2(2) + 3 / math.log2(4) + 2 / math.log2(5)  # b, unjudged, a, c
    ideal = 3 / math.log2(2) + 3 / math.log2(3) + 2 / math.log2(4) + 1 / math.log2(5)
    assert one("ndcg@10", ["b", "x", "a", "c"], grades) == pytest.approx(gained / ideal, abs=1e-12)
    ideal_at_2 = 3 / math.log2(2) + 3 / math.log2(3)
    assert one("ndcg@2", ["b", "x", "a", "c"], grades) == pytest.approx(1 / ideal_at_2, abs=1e-12)


def test_ndcg_does_not_look_at_the_threshold():
    assert one("ndcg@10", ["a"], {"a": 1}, threshold=2) == 1.0


def test_negative_grades_gain_nothing():
    assert one("ndcg@10", ["bad", "a"], {"a": 1, "bad": -2}) == pytest.approx(1 / math.log2(3))
    assert one("ndcg@10", ["bad"], {"bad": -2}) == 0.0


@pytest.mark.parametrize(
    ("ids", "threshold", "value"),
    [(["x", "a"], 1, 0.5), (["b", "a"], 2, 0.5), (["x", "y", "a"], 1, 0.0), (["a", "b"], 1, 1.0)],
)
def test_mrr(ids, threshold, value):
    assert one("mrr@2", ids, {"a": 2, "b": 1}, threshold) == value


def test_map_counts_what_was_not_found():
    grades = {"a": 1, "b": 1, "lost": 2, "no": 0}
    assert one("map@100", ["a", "no", "b"], grades) == pytest.approx((1 / 1 + 2 / 3) / 3)
    assert one("map@2", ["a", "no", "b"], grades) == pytest.approx(1 / 3)


def test_recall_and_its_cutoff():
    grades = {"a": 1, "b": 2, "c": 3, "no": 0}
    assert one("recall@100", ["no", "a", "b"], grades) == pytest.approx(2 / 3)
    assert one("recall@2", ["no", "a", "b"], grades) == pytest.approx(1 / 3)
    assert one("recall@100", ["no", "a", "b"], grades, threshold=2) == pytest.approx(1 / 2)


def test_judged_counts_every_grade_and_no_missing_places():
    grades = {"a": 2, "zero": 0, "spam": -2}
    assert one("judged@10", ["a", "zero", "spam", "x"], grades) == 0.75
    assert one("judged@2", ["a", "x", "zero"], grades) == 0.5
    assert judged_share([], grades) == 0.0


def test_queries_without_candidates_and_without_relevant_passages_have_0_and_count():
    rankings = {"good": ranked("good", "a"), "none": ranked("none", "a"), "empty": ranked("empty"), "else": ranked("x")}
    qrels = {"good": {"a": 2}, "none": {"a": 0}, "empty": {"a": 2}, "absent": {"a": 2}}
    values = score_queries(rankings, qrels, query_ids=list(qrels), metrics=ALL, relevance_threshold=2)
    for metric in ALL[:4]:
        assert values[metric] == (1.0, 0.0, 0.0, 0.0)
        assert mean(values[metric]) == 0.25
    assert values["judged@10"] == (1.0, 1.0, 0.0, 0.0)


def test_values_come_in_the_order_of_the_queries_and_more_than_ten_of_them():
    ids = [f"q{i}" for i in range(23)]
    rankings = {q: ranked(q, *(["x"] * (i % 3) and [f"x{j}" for j in range(i % 3)]), "a") for i, q in enumerate(ids)}
    values = score_queries(rankings, {q: {"a": 1} for q in ids}, query_ids=ids[::-1], metrics=["mrr@10"])
    assert values["mrr@10"] == pytest.approx([1 / (1 + i % 3) for i in range(23)][::-1])


def test_the_order_of_a_ranking_decides_among_equal_scores():
    grades = {f"d{i}": int(i == 7) for i in range(20)}
    assert one("mrr@20", [f"d{i}" for i in range(20)], grades) == 1 / 8
    assert one("mrr@20", [f"d{i}" for i in reversed(range(20))], grades) == 1 / 13


@settings(deadline=None)
@given(
    ranked_grades=st.lists(st.integers(-1, 3) | st.none(), max_size=12),
    lost=st.lists(st.integers(-1, 3), max_size=5),
    k=st.integers(1, 14),
    threshold=st.integers(1, 3),
)
def test_against_plain_python(ranked_grades, lost, k, threshold):
    ids = [f"d{i}" for i in range(len(ranked_grades))]
    grades = {i: g for i, g in zip(ids, ranked_grades, strict=True) if g is not None}
    grades |= {f"lost{i}": g for i, g in enumerate(lost)} | {"judged": 0}
    gains = [max(0, g or 0) for g in ranked_grades]
    ideal = sorted((max(0, g) for g in grades.values()), reverse=True)

    def dcg(values):
        return sum(v / math.log2(i + 2) for i, v in enumerate(values[:k]))

    hits = [i for i, g in enumerate(gains[:k]) if g >= threshold]
    relevant = sum(g >= threshold for g in grades.values())
    expected = {
        "ndcg": dcg(gains) / dcg(ideal) if dcg(ideal) else 0.0,
        "mrr": 1 / (hits[0] + 1) if hits else 0.0,
        "map": sum((n + 1) / (i + 1) for n, i in enumerate(hits)) / max(1, relevant),
        "recall": len(hits) / max(1, relevant),
    }
    for measure, value in expected.items():
        assert one(f"{measure}@{k}", ids, grades, threshold) == pytest.approx(value, abs=1e-12), measure


@pytest.mark.parametrize(
    "name", ["ndcg", "ndcg@", "ndcg@0", "ndcg@010", "ndcg@-1", "ndcg@ten", "ndcg@²", "p@10", "@1", ""]
)
def test_unknown_metrics_are_named_with_what_is_known(name):
    with pytest.raises(ValueError, match=r"ndcg@k, mrr@k, map@k, recall@k, judged@k"):
        Metric.parse(name)


@pytest.mark.parametrize(("name", "label"), [("ndcg@10", "nDCG@10"), ("map@100", "MAP@100"), ("judged@5", "Judged@5")])
def test_labels(name, label):
    assert Metric.parse(name).label == label


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_refused(score):
    with pytest.raises(ValueError, match=r"query 'q', passage 'a': score (nan|inf|-inf)"):
        score_queries({"q": ranked("q", "a", score=score)}, {"q": {"a": 1}}, query_ids=["q"], metrics=["ndcg@10"])


@pytest.mark.parametrize(
    ("ranking", "ids", "threshold", "message"),
    [
        (ranked("q", "a", "a"), ["q"], 1, "passage 'a' .*twice"),
        (ranked("other", "a"), ["q"], 1, "belongs to query 'other'"),
        (ranked("q", "a"), [], 1, "no queries to score"),
        (ranked("q", "a"), ["q", "q"], 1, "query 'q'.* twice"),
        (ranked("q", "a"), ["q", "unjudged"], 1, "query 'unjudged' has no judgement"),
        (ranked("q", "a"), ["q"], 0, "relevance threshold 0"),
    ],
)
def test_faults_are_named(ranking, ids, threshold, message):
    with pytest.raises(ValueError, match=message):
        score_queries(
            {"q": ranking}, {"q": {"a": 1}, "unjudged": {}}, query_ids=ids, metrics=ALL, relevance_threshold=threshold
        )


def test_no_queries_give_no_scores():
    assert module.ranx_scores("ndcg@10", [], []).tolist() == []


@pytest.mark.parametrize("before", [None, "mine"])
def test_compiled_code_is_kept_in_the_users_cache_unless_the_user_names_a_folder(monkeypatch, tmp_path, before):
    monkeypatch.setenv("HEADRANK_CACHE", str(tmp_path / "shared"))  # never of executable content
    monkeypatch.setattr(compiled_cache, "user_cache_path", lambda name: tmp_path / name)
    monkeypatch.setattr(compiled_cache, "is_private", lambda folder: True)
    monkeypatch.setitem(sys.modules, "numba", None)  # as if it was not imported yet
    monkeypatch.delitem(sys.modules, "numba")
    monkeypatch.setenv("NUMBA_CACHE_DIR", before or "")
    monkeypatch.setenv("NUMBA_THREADING_LAYER", "omp")
    module._set_up_numba()
    assert os.environ["NUMBA_CACHE_DIR"] == (before or str(tmp_path / "headrank-compiled"))
    assert os.environ["NUMBA_THREADING_LAYER"] == "workqueue"
    assert not (tmp_path / "shared").exists()


def test_scoring_leaves_torchs_threads_alone():
    code = """
import torch
torch.set_num_threads(1)
import numba  # as bm25s does
from headrank.evaluation.measures.metrics import ranx_scores
assert ranx_scores("ndcg@10", [[1, 0]], [[1]]).shape == (1,)
print(torch.get_num_threads(), numba.threading_layer())
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "OMP"))}
    environment["NUMBA_NUM_THREADS"] = "2"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=300
    )
    assert done.stdout.split() == ["1", "workqueue"]


def test_importing_the_package_imports_neither_ranx_nor_matplotlib():
    code = "import sys, headrank.evaluation; print([m for m in ('ranx', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_knows_rankings_and_files_only():
    # None of them knows a model.
    modules = ["ranking", "files", "artifacts", "cache", "names", "errors", "settings", "evaluation"]
    allowed = tuple(f"headrank.{name}" for name in modules)
    for file in Path(module.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in imported:
                assert name.split(".")[0] not in ("torch", "transformers", "lightning", "hydra", "wandb"), file
                assert not name.startswith("headrank") or name.startswith(allowed), file
