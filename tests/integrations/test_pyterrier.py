"""PyTerrier's frames come back reranked, in pipelines and experiments, without Java."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integrations.candidates import QUERY, TEXTS, candidates, few, ranked

pytest.importorskip("pyterrier", reason="PyTerrier is not installed (extra `pyterrier`)")

import pyterrier as pt

from headrank.integrations.pyterrier import HeadRankTransformer

QUERIES = {"q2": QUERY, "q1": "how is bread made"}
BM25 = pd.DataFrame(
    [
        {"qid": qid, "query": query, "docno": f"d{i}", "text": text, "score": 9.0 - i, "rank": i}
        for qid, query in QUERIES.items()
        for i, text in enumerate(TEXTS)
    ]
)


@few
@given(lists=st.dictionaries(st.text(max_size=4), candidates, max_size=3))
def test_rows_are_kept(lists, calibrated):
    rows = [
        {"qid": qid, "query": QUERY, "docno": id, "text": text, "rank": i, "score": 1.0, "meta": meta}
        for qid, given in lists.items()
        for i, (id, text, meta) in enumerate(given)
    ]
    frame = pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "rank", "score", "meta"])
    before = frame.copy(deep=True)
    found = HeadRankTransformer(calibrated).transform(frame)
    expected = [
        ((qid, QUERY, id, text, meta, r.rank - 1), (r.score, r.probability))
        for qid, given in lists.items()
        for (id, text, meta), r in ranked(calibrated, given)
    ]
    kept = found[["qid", "query", "docno", "text", "meta", "rank"]].itertuples(index=False, name=None)
    assert list(kept) == [row for row, _ in expected]
    added = [found[name].tolist() for name in ("score", "relevance_probability")] if expected else [[], []]
    assert added == [pytest.approx([values[i] for _, values in expected], abs=1e-6) for i in (0, 1)]
    pd.testing.assert_frame_equal(frame, before)


def test_the_old_rank_is_the_order_of_the_first_stage(reranker):
    transformer = HeadRankTransformer(reranker)
    shuffled = BM25.sample(frac=1, random_state=0)
    by_query = transformer(shuffled).set_index("qid")
    for qid in QUERIES:
        assert by_query.loc[qid, "docno"].tolist() == transformer(BM25).set_index("qid").loc[qid, "docno"].tolist()
    without = transformer(BM25.drop(columns=["rank", "score"]))
    assert without["docno"].tolist() == transformer(BM25)["docno"].tolist()
    assert "relevance_probability" not in without


def test_the_probability_of_an_earlier_reranker_is_dropped(reranker, calibrated):
    first = HeadRankTransformer(calibrated)(BM25)
    for frame in (first, first.iloc[:0]):
        assert "relevance_probability" not in HeadRankTransformer(reranker)(frame)
    assert HeadRankTransformer(calibrated)(first.assign(relevance_probability=2.0))["relevance_probability"].max() <= 1


@pytest.mark.parametrize("categorical", [False, True])
def test_rows_without_a_qid_are_one_query_and_unused_categories_none(reranker, categorical):
    frame = BM25.assign(qid=BM25["qid"].where(BM25["qid"] == "q2"))
    if categorical:
        frame["qid"] = pd.Categorical(frame["qid"], categories=["q0", "q1", "q2"])
    found = HeadRankTransformer(reranker)(frame)
    expected = HeadRankTransformer(reranker)(BM25)
    assert found["docno"].tolist() == expected["docno"].tolist()
    assert found["qid"].isna().tolist() == (expected["qid"] == "q1").tolist()
    assert found["qid"].dtype == frame["qid"].dtype


def test_an_experiment_over_a_bm25_frame(reranker):
    first = pt.Transformer.from_df(BM25)
    topics = pd.DataFrame(QUERIES.items(), columns=["qid", "query"])
    qrels = pd.DataFrame([("q2", "d0", 1), ("q1", "d2", 1)], columns=["qid", "docno", "label"])
    transformer = HeadRankTransformer(reranker)
    systems = [first, first >> transformer, first % 3 >> transformer]
    options = {"names": ["bm25", "all", "three"], "validate": "error", "plan": "tree"}
    table = pt.Experiment(systems, topics, qrels, ["recip_rank"], **options)
    found = dict(zip(table["name"], table["recip_rank"], strict=True))
    for name, depth in (("all", 5), ("three", 3)):
        ranks = [
            1 / next(r.rank for r in reranker.rank(query, TEXTS[:depth]) if r.index == relevant)
            for query, relevant in ((QUERIES["q2"], 0), (QUERIES["q1"], 2))
        ]
        assert found[name] == pytest.approx(sum(ranks) / 2)
    assert found["bm25"] == pytest.approx((1 + 1 / 3) / 2)
    assert not pt.java.started()


def test_a_frame_without_texts_is_refused(reranker):
    with pytest.raises(pt.validate.InputValidationError, match="text"):
        HeadRankTransformer(reranker)(BM25.drop(columns="text"))
    with pytest.raises(TypeError, match=r"passages of lists\[1\]\[2\]"):
        HeadRankTransformer(reranker)(BM25.assign(text=[*TEXTS, *TEXTS[:2], None, *TEXTS[3:]]))


def test_a_model_by_its_name_with_options(model_folder, reranker):
    named = HeadRankTransformer(model_folder, heads="1-2, 0-3", device="cpu")
    pd.testing.assert_frame_equal(named(BM25), HeadRankTransformer(reranker)(BM25))
    assert "2 heads" in repr(named)
    with pytest.raises(TypeError, match="haeds"):
        HeadRankTransformer(model_folder, haeds="all")
