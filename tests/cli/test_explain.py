"""`headrank explain`: forms of input and output, errors."""

import json

import pytest
from typer.testing import CliRunner

from headrank import Reranker
from headrank.cli.main import app
from tests.cli.conftest import PASSAGES


def call(*arguments, code=0, stdin=None):
    result = CliRunner().invoke(app, ["explain", *map(str, arguments), "--device", "cpu"], input=stdin)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def request_of(files, number):
    request = json.loads((files / "requests.jsonl").read_text().splitlines()[number])
    return request["query"]["text"], {one["docid"]: one["doc"]["contents"] for one in request["candidates"]}


def test_requests_as_in_python(saved, files):
    query, passages = request_of(files, 7)
    expected = Reranker.from_pretrained(saved, device="cpu").explain(query, passages, 2, per_head=True)
    source = ("--requests", files / "requests.jsonl", "--query-id", "q7", "--top-k", 2, "--per-head")
    assert json.loads(call(saved, *source, "--format", "json").stdout) == expected.to_dict()
    for name, text in (("q7.json", None), ("q7.HTM", expected.html())):
        call(saved, *source, "--output", files / name)
        written = (files / name).read_text(encoding="utf-8")
        assert written == text or (text is None and json.loads(written) == expected.to_dict())
    assert json.loads(call(saved, *source).stdout) == expected.to_dict(), "a pipe gets data"
    assert call(saved, *source, "--format", "ansi").stdout == expected.ansi()
    call(saved, *source, "--output", files / "q7.txt", "--format", "ansi")
    assert (files / "q7.txt").read_text(encoding="utf-8") == expected.ansi()
    refused = CliRunner().invoke(app, ["explain", str(saved), *map(str, source), "--output", str(files / "q8.txt")])
    assert refused.exit_code == 2
    assert "q8.txt" in refused.stderr


def test_the_other_forms_of_input(saved, files):
    query, passages = request_of(files, 0)
    docs = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in passages.items())
    (files / "few.jsonl").write_text(docs)
    three = ("--queries", files / "queries.tsv", "--docs", files / "docs.jsonl", "--run", files / "run.trec")
    forms = [
        ("--requests", files / "requests.jsonl"),
        ("--query", query, "--docs", files / "few.jsonl"),
        ("--query", query, "--docs", "-"),
        (*three, "--query-id", "q0"),
    ]
    found = [json.loads(call(saved, *form, "--format", "json", stdin=docs).stdout) for form in forms]
    assert all(one == found[0] for one in found)
    assert len(found[0]["passages"]) == PASSAGES
    fewer = [json.loads(call(saved, *form, "--format", "json", "--depth", 2, stdin=docs).stdout) for form in forms]
    assert all(one == fewer[0] for one in fewer)
    assert {one["id"] for one in fewer[0]["passages"]} == set(list(passages)[:2])


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--query", "q"),
        ("--docs", "docs.jsonl"),
        ("--query", "q", "--docs", "docs.jsonl", "--requests", "requests.jsonl"),
        ("--query", "q", "--docs", "docs.jsonl", "--query-id", "q0"),
        ("--requests", "requests.jsonl", "--run", "run.trec"),
        ("--queries", "queries.tsv", "--run", "run.trec"),
    ],
)
def test_wrong_inputs(saved, files, monkeypatch, arguments):
    monkeypatch.chdir(files)
    error = call(saved, *arguments, code=2).stderr
    assert error.startswith("error: ")
    assert all(name in error for name in arguments if name.startswith("--"))


def test_faults_of_the_data(saved, files):
    assert "'q99'" in call(saved, "--requests", files / "requests.jsonl", "--query-id", "q99", code=1).stderr
    assert "error: -: " in call(saved, "--requests", "-", code=1, stdin="").stderr
    twice = '{"id": "a", "text": "x"}\n' * 2
    assert "'a'" in call(saved, "--query", "q", "--docs", "-", code=1, stdin=twice).stderr


def test_an_existing_output_stays(saved, files):
    source = ("--requests", files / "requests.jsonl", "--output", files / "out.html")
    (files / "out.html").write_text("mine")
    call(saved, *source, code=2)
    assert (files / "out.html").read_text() == "mine"
    call(saved, *source, "--overwrite")
    assert (files / "out.html").read_text().startswith("<!DOCTYPE html>")
    call(saved, "--requests", files / "requests.jsonl", "--output", files / "no" / "out.html", code=2)
