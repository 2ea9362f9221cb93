"""Requests JSONL: queries with candidates, as rank_llm and Anserini write them."""

import gzip
import io
import json

import pytest

from headrank.data.requests import read_requests
from headrank.errors import FormatError, MissingFileError
from headrank.ranking import CandidateList, Passage, Query


def lines(*requests):
    return "".join(json.dumps(request) + "\n" for request in requests)


def read(tmp_path, *requests, **options):
    file = tmp_path / "requests.jsonl"
    file.write_text(lines(*requests))
    return list(read_requests(file, **options))


def of(*candidates, query="x"):
    return {"query": query, "candidates": list(candidates)}


def test_the_form_of_rank_llm_and_anserini(tmp_path):
    candidates = [
        {"docid": "d1", "score": 9.5, "doc": {"title": "T", "text": "a"}},
        {"docid": 2, "score": 8, "doc": {"contents": "b"}},
    ]
    (found,) = read(tmp_path, of(*candidates, query={"qid": 7, "text": "why"}))
    assert (found.line, found.query) == (1, Query("7", "why"))
    assert found.candidate_list == CandidateList(found.query, (Passage("d1", "T a"), Passage("2", "b")), (9.5, 8.0))
    assert [one.raw for one in found.candidates] == candidates
    assert found.raw["query"] == {"qid": 7, "text": "why"}


@pytest.mark.parametrize(
    ("request_", "query"),
    [
        ({"query": "why"}, Query("1", "why")),
        ({"query": {"text": "why"}}, Query("1", "why")),
        ({"query": {"text": "why"}, "qid": "q"}, Query("q", "why")),
        ({"query": "why", "id": 3}, Query("3", "why")),
        ({"query": {"_id": "q", "contents": "why"}}, Query("q", "why")),
    ],
)
def test_queries_and_their_ids(tmp_path, request_, query):
    (found,) = read(tmp_path, {**request_, "candidates": []})
    assert (found.query, found.candidates) == (query, ())


@pytest.mark.parametrize(
    "parts",
    [
        {"text": "a"},
        {"contents": "a"},
        {"doc": "a"},
        *({"doc": {key: "a"}} for key in ("text", "contents", "segment", "content", "body", "passage")),
        {"doc": {"text": "a", "title": None, "segment": "other"}},
        {"text": "a", "doc": {"text": "other"}},
    ],
)
def test_the_places_of_a_candidates_text(tmp_path, parts):
    (found,) = read(tmp_path, of({"docid": "d", **parts}))
    assert found.candidates[0].passage == Passage("d", "a")


def test_titles_can_be_left_out(tmp_path):
    candidates = [{"docid": "d", "doc": {"title": "T", "text": "a"}}, {"docid": "e", "title": "U", "text": "b"}]
    assert [one.passage.text for one in read(tmp_path, of(*candidates))[0].candidates] == ["T a", "U b"]
    assert [one.passage.text for one in read(tmp_path, of(*candidates), title=False)[0].candidates] == ["a", "b"]


@pytest.mark.parametrize(("scores", "order"), [((1, 3, 3), "bca"), ((3, 2, 1), "abc"), ((None,) * 3, "abc")])
def test_candidates_are_in_the_order_of_their_scores(tmp_path, scores, order):
    candidates = [{"docid": d, "text": d, "score": score} for d, score in zip("abc", scores, strict=True)]
    (found,) = read(tmp_path, of(*candidates))
    assert found.candidate_list.passage_ids == tuple(order)
    assert found.candidate_list.first_stage_scores == (None if None in scores else tuple(sorted(scores, reverse=True)))


def test_grades(tmp_path):
    grades = [{"grade": 2}, {"rel": 1.0}, {"grade": None}, {}]
    (found,) = read(tmp_path, of(*({"docid": i, "text": "", **grade} for i, grade in enumerate(grades))))
    assert [one.grade for one in found.candidates] == [2, 1, None, None]


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ([], "JSON object"),
        ({"query": "x"}, "candidates"),
        ({"candidates": []}, "query"),
        ({"query": " ", "candidates": []}, "without text"),
        ({"query": ["x"], "candidates": []}, r"\['x'\]"),
        ({"query": {"qid": "a b", "text": "x"}, "candidates": []}, "'a b'"),
        ({"query": "x", "candidates": {"docid": "d"}}, "dict"),
        (of("d1"), "candidates.0.: 'd1'"),
        (of({"text": "a"}), "candidates.0.: .*docid"),
        (of({"docid": "d"}), "candidates.0.: .*text"),
        (of({"docid": "d", "doc": {"title": "T"}}), "candidates.0..doc: .*passage"),
        (of({"docid": "d", "doc": {"segment": "a", "body": "b"}}), "segment.*body"),
        (of({"docid": "d", "text": "a", "score": "9"}), "'9'"),
        (of({"docid": "d", "text": "a", "score": 10**400}), "score"),
        (of({"docid": "d", "text": "a", "score": 1}, {"docid": "e", "text": "a"}), "1 of 2"),
        (of({"docid": "d", "text": "a", "grade": 1.5}), r"1\.5"),
        (of({"docid": "d", "text": "a", "grade": True}), "True"),
        (of({"docid": "d", "text": "a"}, {"docid": "d", "text": "b"}), "'d'"),
    ],
)
def test_an_invalid_line_is_named_or_skipped(tmp_path, request_, named):
    good = of({"docid": "d", "text": "a"})
    with pytest.raises(FormatError, match=rf"requests\.jsonl:2: .*{named}"):
        read(tmp_path, good, request_, good)
    errors = []
    assert [found.line for found in read(tmp_path, good, request_, good, on_invalid=errors.append)] == [1, 3]
    assert len(errors) == 1


def test_compressed_files_and_streams(tmp_path):
    text = lines(of({"docid": "d", "text": "a"})).encode()
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(text))
    assert list(read_requests(str(tmp_path / "r.jsonl.gz"))) == list(read_requests(io.BytesIO(text)))
    with pytest.raises(MissingFileError, match=r"none\.jsonl"):
        list(read_requests(tmp_path / "none.jsonl"))
