"""`headrank rerank`: forms of input and output, errors, resuming."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from headrank import Reranker
from headrank.cli import rerank_job
from headrank.cli.main import app
from headrank.data import read_run
from headrank.heads import HeadsFile, ProbabilityCalibration
from tests.cli.conftest import LISTS, PASSAGES


def call(*arguments, code=0, stdin=None):
    result = CliRunner().invoke(app, ["rerank", *map(str, arguments), "--device", "cpu"], input=stdin)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def three(files):
    return ["--queries", files / "queries.tsv", "--docs", files / "docs.jsonl", "--run", files / "run.trec"]


def test_a_run_is_reranked_as_in_python(saved, files):
    call(saved, *three(files), "--output", files / "out.trec")
    run = read_run(files / "out.trec")
    assert len(run) == LISTS
    request = json.loads((files / "requests.jsonl").read_text().splitlines()[7])
    passages = {one["docid"]: one["doc"]["contents"] for one in request["candidates"]}
    expected = Reranker.from_pretrained(saved, device="cpu").rank(request["query"]["text"], passages)
    assert list(run["q7"].passage_ids) == [one.id for one in expected]
    assert list(run["q7"].scores) == pytest.approx([one.score for one in expected], abs=1e-5)
    assert not list(files.glob("*.partial*"))


def test_requests_give_the_same_run(saved, files):
    call(saved, *three(files), "--output", files / "a.trec")
    call(saved, "--requests", files / "requests.jsonl", "--output", files / "b.trec")
    a, b = read_run(files / "a.trec"), read_run(files / "b.trec")
    assert {q: r.passage_ids for q, r in a.items()} == {q: r.passage_ids for q, r in b.items()}


def test_jsonl_keeps_what_the_requests_hold(saved, files):
    call(saved, "--requests", files / "requests.jsonl", "--output", files / "out.jsonl", "--top-k", 2, "--depth", 3)
    given = [json.loads(line) for line in (files / "requests.jsonl").read_text().splitlines()]
    found = [json.loads(line) for line in (files / "out.jsonl").read_text().splitlines()]
    assert [one["query"] for one in found] == [one["query"] for one in given]
    for one, request in zip(found, given, strict=True):
        assert [c["rank"] for c in one["candidates"]] == [1, 2]
        first = {c["docid"]: c for c in request["candidates"][:3]}
        for candidate in one["candidates"]:
            assert candidate["doc"] == first[candidate["docid"]]["doc"]
            assert candidate["first_stage_score"] == first[candidate["docid"]]["score"]


def test_jsonl_has_probabilities_if_the_heads_have_a_map(saved, files):
    call(saved, "--requests", files / "requests.jsonl", "--output", files / "none.jsonl")
    assert "probability" not in (files / "none.jsonl").read_text()
    folder, found = shutil.copytree(saved, files / "calibrated"), ProbabilityCalibration(
        1.5, -1.0, 0.1, {"mine": 1}, lists=3, passages=20, relevant=4, protocol="cross_fitted"
    )  # fmt: skip
    heads = replace(HeadsFile.load(saved / "heads.json"), probability=found)
    (folder / "heads.json").unlink()
    heads.save(folder / "heads.json")
    call(folder, "--requests", files / "requests.jsonl", "--output", files / "out.jsonl")
    for line in (files / "out.jsonl").read_text().splitlines():
        for candidate in json.loads(line)["candidates"]:
            assert (candidate["probability"],) == found([candidate["score"]])


def test_compressed_files_and_standard_streams(saved, files):
    call(saved, "--requests", files / "requests.jsonl", "--output", files / "out.trec")
    text = (files / "out.trec").read_text()
    packed = files / "requests.jsonl.gz"
    packed.write_bytes(gzip.compress((files / "requests.jsonl").read_bytes()))
    call(saved, "--requests", packed, "--output", files / "out.trec.gz")
    assert gzip.decompress((files / "out.trec.gz").read_bytes()).decode() == text
    piped = call(saved, "--requests", "-", stdin=(files / "requests.jsonl").read_text())
    assert piped.stdout == text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--queries"),
        (["--queries", "q.tsv"], "--docs"),
        (["--requests", "r.jsonl", "--run", "x.trec"], "--run"),
        (["--requests", "-", "--tag", "two words"], "two words"),
        (["--requests", "-", "--output", "/no/such/folder/out.trec"], "/no/such/folder"),
    ],
)
def test_wrong_arguments(saved, arguments, named):
    result = call(saved, *arguments, code=2)
    assert named in result.stderr
    assert "Traceback" not in result.output


def test_an_existing_output_is_kept(saved, files):
    (files / "out.trec").write_text("mine\n")
    assert "out.trec" in call(saved, *three(files), "--output", files / "out.trec", code=2).stderr
    assert (files / "out.trec").read_text() == "mine\n"
    call(saved, *three(files), "--output", files / "out.trec", "--overwrite")
    assert len(read_run(files / "out.trec")) == LISTS


@pytest.mark.parametrize(("name", "lost"), [("docs.jsonl", "d1"), ("queries.tsv", "q3")])
def test_texts_that_are_missing_are_named(saved, files, name, lost):
    lines = (files / name).read_text().splitlines(keepends=True)
    (files / name).write_text("".join(line for line in lines if f'"{lost}"' not in line and f"{lost}\t" not in line))
    result = call(saved, *three(files), "--output", files / "out.trec", code=1)
    assert lost in result.stderr
    assert name in result.stderr


def test_a_passage_twice_in_a_query_is_refused(saved, files):
    with (files / "run.trec").open("a") as file:
        file.write((files / "run.trec").read_text().splitlines()[0] + "\n")
    result = call(saved, *three(files), "--output", files / "out.trec", code=1)
    assert f"run.trec:{LISTS * PASSAGES + 1}" in result.stderr


def test_a_malformed_line_ends_the_command_or_is_counted(saved, files):
    lines = (files / "requests.jsonl").read_text().splitlines(keepends=True)
    lines.insert(40, '{"query": "no candidates"}\n')
    (files / "requests.jsonl").write_text("".join(lines))
    result = call(saved, "--requests", files / "requests.jsonl", "--output", files / "out.trec", code=1)
    assert "requests.jsonl:41" in result.stderr
    result = call(saved, "--requests", files / "requests.jsonl", "--output", files / "out.trec", "--skip-invalid")
    assert len(read_run(files / "out.trec")) == LISTS
    assert "1 invalid lines skipped" in result.stderr


def test_a_query_id_twice_is_refused_in_a_run_only(saved, files):
    with (files / "requests.jsonl").open("a") as file:
        file.write((files / "requests.jsonl").read_text().splitlines()[0] + "\n")
    assert "'q0'" in call(saved, "--requests", files / "requests.jsonl", code=1).stderr
    call(saved, "--requests", files / "requests.jsonl", "--format", "jsonl")


@pytest.mark.parametrize(
    ("name", "line"), [("docs.jsonl", '{"id": "d1", "contents": "other"}'), ("queries.tsv", "q3\tother")]
)
def test_an_id_twice_is_refused(saved, files, name, line):
    with (files / name).open("a") as file:
        file.write(line + "\n")
    assert f"{name}:" in call(saved, *three(files), "--output", files / "out.trec", code=1).stderr


def test_an_earlier_rerankers_fields_and_broken_text(saved, files):
    """What an earlier reranker wrote is not passed on; a lone surrogate in another field stays an escape."""
    stale = {"truncated": True, "probability": 0.99, "first_stage_score": 7, "rank": 3}
    candidates = [{"docid": d, "text": d, "note": "\ud800", **stale} for d in ("a", "b")]
    (files / "one.jsonl").write_text(json.dumps({"query": "q", "candidates": candidates}) + "\n")
    call(saved, "--requests", files / "one.jsonl", "--output", files / "out.jsonl")
    (record,) = [json.loads(line) for line in (files / "out.jsonl").read_text().splitlines()]
    assert [one["rank"] for one in record["candidates"]] == [1, 2]
    assert all(one["note"] == "\ud800" for one in record["candidates"])
    assert not {"truncated", "probability", "first_stage_score"} & set(record["candidates"][0])


@pytest.mark.parametrize("suffix", ["trec", "jsonl", "trec.gz"])
@pytest.mark.parametrize("form", ["requests", "run"])
def test_a_killed_command_continues_to_the_same_file(saved, files, suffix, form, monkeypatch):
    source = three(files) if form == "run" else ["--requests", files / "requests.jsonl"]
    call(saved, *source, "--output", files / f"whole.{suffix}")
    output, ranked = files / f"out.{suffix}", []
    rank_many = Reranker.rank_many

    def fail(self, lists, *more):
        ranked.append(len(lists))
        if len(ranked) == 2:
            raise OSError("killed")
        return rank_many(self, lists, *more)

    monkeypatch.setattr(Reranker, "rank_many", fail)
    call(saved, *source, "--output", output, code=1)
    with output.with_name(f"{output.name}.partial").open("ab") as file:
        file.write(b"half a line")  # of the step that was killed
    assert not output.exists()
    call(saved, *source, "--output", output)
    assert output.read_bytes() == (files / f"whole.{suffix}").read_bytes()
    assert ranked == [rerank_job.STEP, rerank_job.STEP, rerank_job.STEP, LISTS - 2 * rerank_job.STEP]


def test_another_input_starts_again(saved, files, monkeypatch):
    monkeypatch.setattr(rerank_job, "STEP", 8)
    rank_many = Reranker.rank_many
    monkeypatch.setattr(
        Reranker, "rank_many", lambda self, lists: 1 / 0 if lists[0][0] == "stop" else rank_many(self, lists)
    )
    lines = (files / "requests.jsonl").read_text().splitlines()
    (files / "requests.jsonl").write_text(
        "\n".join([*lines[:8], json.dumps({**json.loads(lines[8]), "query": "stop"})])
    )
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(app, ["rerank", str(saved), "--requests", str(files / "requests.jsonl"), "--output",
                                 str(files / "out.jsonl")], catch_exceptions=False)  # fmt: skip
    (files / "requests.jsonl").write_text("\n".join(lines[20:30]))
    call(saved, "--requests", files / "requests.jsonl", "--output", files / "out.jsonl")
    found = [json.loads(line)["query"]["qid"] for line in (files / "out.jsonl").read_text().splitlines()]
    assert found == [f"q{n}" for n in range(20, 30)]


@pytest.mark.slow
def test_kill_9(saved, files):
    """A real process, killed at a real moment."""
    many = files / "many.jsonl"
    lines = (files / "requests.jsonl").read_text().splitlines()
    many.write_text("".join(json.dumps({**json.loads(line), "id": n}) + "\n" for n in range(12) for line in lines))
    command = [
        sys.executable,
        "-m",
        "headrank.cli.main",
        "rerank",
        str(saved),
        "--requests",
        str(many),
        "--device",
        "cpu",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--output", str(files / "whole.jsonl")], env=environment, check=True, timeout=200)
    process = subprocess.Popen([*command, "--output", str(files / "out.jsonl")], env=environment)
    while not (files / "out.jsonl.partial.json").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (files / "out.jsonl").exists()
    before = json.loads((files / "out.jsonl.partial.json").read_text())["state"]["lists"]
    assert 0 < before < 12 * LISTS
    subprocess.run([*command, "--output", str(files / "out.jsonl")], env=environment, check=True, timeout=200)
    assert (files / "out.jsonl").read_bytes() == (files / "whole.jsonl").read_bytes()
