"""The command line as a user calls it, in processes of its own, without network."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROXY = "http://127.0.0.1:9"  # nothing listens on the discard port: whatever asks the network fails at once


def run(*arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HTTPS_PROXY": PROXY, "HTTP_PROXY": PROXY}
    done = subprocess.run(
        [sys.executable, "-m", "headrank.run", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (done.returncode == 0) == ok, done.stderr[-3000:]
    return done


def test_the_configuration_of_a_scale_prints_without_network():
    text = run("--cfg", "job", "+experiment=qwen3_4b").stdout
    assert "model: Qwen/Qwen3-4B" in text
    assert re.search(r"revision: [0-9a-f]{40}\n", text)


def test_debug_runs_the_whole_way_and_names_the_report(tmp_path):
    done = run(
        "+experiment=qwen3_4b",
        "debug=fast",
        f"paths.output={tmp_path}",
        "baselines=[icr,qrhead,core,generative,qwen3_reranker,cross_encoder]",
    )
    folder = tmp_path / "debug-qwen3_4b"
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    for system in ("first stage", "headrank", "icr", "qrhead", "core", "generative", "qwen3_reranker", "cross_encoder"):
        assert re.search(rf"^\| {system} +\|", done.stdout, re.MULTILINE), done.stdout
    report = Path(re.search(r"^report: (.*)$", done.stdout, re.MULTILINE).group(1))
    assert (ROOT / report).resolve() == (folder / "report.html").resolve()
    assert "random" in (folder / "report.md").read_text().split("\n\n## ")[0], "the notice stands above the tables"
    assert {p.name for p in folder.glob("figures/*.svg")} >= {"queries.svg", "selectivity.svg", "heads.svg"}


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_failed_job_and_starts_again_where_it_was(tmp_path):
    sweep = ("-m", "debug=fast", f"paths.output={tmp_path}", "scorer.order=first_stage,reversed")
    done = run(*sweep, "selection.heads=2,99", ok=False)
    jobs = {p.parent.name: json.loads(p.read_text()) for p in tmp_path.rglob("status.json")}
    assert sorted(status["state"] for status in jobs.values()) == ["failed", "failed", "finished", "finished"]
    for name, status in jobs.items():
        assert (status["state"] == "failed") == ("selection.heads=99" in name)
        if status["state"] == "failed":
            assert "99 heads are wanted" in status["error"]
            assert "Traceback" in status["traceback"]
    assert "99 heads are wanted" in done.stderr
    runs = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.trec")}
    assert len(runs) == 4  # two finished jobs, the first stage's run and the system's
    run(*sweep, "selection.heads=2")
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.trec")} == runs


def test_an_unknown_option_is_told_with_the_ones_there_are():
    assert "qwen3_0_6b" in run("model=qwen3_8b", ok=False).stderr
