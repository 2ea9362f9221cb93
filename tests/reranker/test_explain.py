"""`Reranker.explain`: the scores of `rank`, input in every form, plain data."""

import json
import logging

import pytest

from headrank import Reranker
from headrank.errors import ConfigError
from headrank.explanation import Explanation
from headrank.model import ScorerSettings

HEADS = "0-1, 2-3"
TEXTS = ["Tides rise and fall.", " naïve 数学 👩‍👩‍👧 ", "", "Tides rise and fall.", "\ud83d a lone surrogate"]


@pytest.fixture(scope="module")
def reranker(model_folder) -> Reranker:
    return Reranker.from_pretrained(model_folder, HEADS, max_passage_tokens=20)


def test_the_scores_are_those_of_rank(reranker):
    ranked, explained = reranker.rank("what causes tides", TEXTS), reranker.explain("what causes tides", TEXTS)
    assert isinstance(explained, Explanation)
    fields = ("id", "index", "rank", "score", "text", "truncated")
    for result, passage in zip(ranked, explained.passages, strict=True):
        assert [getattr(result, name) for name in fields] == [getattr(passage, name) for name in fields]
        assert passage.contribution == pytest.approx(passage.score, rel=1e-4)
        assert passage.rest == 0
        assert not passage.heads
    assert explained.calibration == "residual"


def test_ids_titles_and_top_k(reranker):
    documents = [{"id": 7, "title": "Tides", "text": "rise and fall"}, ("b", "bread rises"), "untitled"]
    explained = reranker.explain("tides", documents, top_k=2, per_head=True)
    ranked = reranker.rank("tides", documents, top_k=2)
    assert [one.id for one in explained.passages] == [one.id for one in ranked]
    texts = {one.id: one.text for one in reranker.explain("tides", documents).passages}
    assert texts == {7: "Tides rise and fall", "b": "bread rises", 2: "untitled"}
    assert set(explained.passages[0].heads) == {"0-1", "2-3"}
    assert reranker.explain("tides", []).passages == ()


def test_plain_data(reranker):
    explained = reranker.explain("what \ude00 causes tides", TEXTS, per_head=True)
    content = explained.to_dict()
    assert json.loads(json.dumps(content)) == content
    assert list(content) == [
        "query", "query_truncated", "query_tokens", "other_rows", "adds_up_to", "calibration", "passages",
    ]  # fmt: skip
    first = content["passages"][0]
    assert list(first) == [
        "id", "index", "rank", "score", "text", "truncated", "contribution", "rest", "tokens", "query_tokens",
        "other_rows", "heads",
    ]  # fmt: skip
    assert list(first["tokens"][0]) == ["start", "end", "contribution"]
    assert first["contribution"] == pytest.approx(sum(token["contribution"] for token in first["tokens"]))
    assert "heads" not in reranker.explain("tides", TEXTS).to_dict()["passages"][0]


@pytest.mark.parametrize(
    ("query", "passages", "top_k", "error"),
    [
        ("q", "a", None, ValueError),
        ("q", [("a", "x"), ("a", "y")], None, ValueError),
        ("q", ["a"], 0, ConfigError),
    ],
)
def test_errors_are_those_of_rank(reranker, query, passages, top_k, error):
    with pytest.raises(error) as explained:
        reranker.explain(query, passages, top_k)
    with pytest.raises(error) as ranked:
        reranker.rank(query, passages, top_k)
    assert str(explained.value) == str(ranked.value)


def test_the_warning_of_cut_texts_comes_once(model_folder, caplog):
    reranker = Reranker.from_pretrained(model_folder, HEADS, max_passage_tokens=2)
    with caplog.at_level(logging.WARNING):
        assert reranker.explain("q", ["a long passage"]).passages[0].truncated
        reranker.rank("q", ["a long passage"])
    assert len([record for record in caplog.records if "cut" in record.message]) == 1


def test_the_embedded_model_explains():
    reranker = Reranker.from_pretrained("smollm2-135m-instruct", "6-3, 9-1", scorer=ScorerSettings(window=2))
    texts = ["The sky scatters blue light most. 😀", "Cats sleep a lot.", "Bread rises.", ""]
    ranked, explained = reranker.rank("why is the sky blue", texts), reranker.explain("why is the sky blue", texts)
    assert [one.score for one in explained.passages] == [one.score for one in ranked]
    for one in explained.passages:
        assert one.contribution + one.rest == pytest.approx(one.score, rel=1e-4, abs=1e-6)
        joined = "".join(one.text[token.start : token.end] for token in one.tokens)
        assert joined == one.text.strip()
