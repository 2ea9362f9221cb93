"""The command line as a user calls it, in processes of its own, without network."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headrank.report import main

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
        "debug=sample",
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
    assert_short_log(done.stderr.splitlines())
    dated = (folder / "run.log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in dated)
    assert_short_log([line[20:] for line in dated])


NOISE = [
    "tensor(",
    "httpx",
    "http request",
    "[info] ",
    "docs_iter",
    "cut 0 of",
    " 0 candidates",
    "float32 step",
    "litlogger",
    "gpu available",
    "tpu available",
    "it/s]",
    "|##",
]
STEPS = [r"select: heads\.json written", r"align: epoch 1 of 5: .*loss [\d.]+.* left", r"align: epoch 2 of 5: ",
         r"align: checkpoint/heads\.json written", r"rerank: .* by headrank: \d+ lists in \d+ s",
         r"rerank: .* by cross_encoder: \d+ lists in \d+ s", r"score: metrics/.*\.json written"]  # fmt: skip


def assert_short_log(lines):
    """Each step has a line, none comes twice, and no library says anything."""
    text = "\n".join(lines)
    for noise in NOISE:
        assert noise not in text.lower(), text
    for step in STEPS:
        assert len(re.findall(f"^{step}", text, re.MULTILINE)) >= 1, (step, text)
    assert len(set(lines)) == len(lines), [line for line in lines if lines.count(line) > 1]
    assert len(lines) < 100


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_failed_job_and_starts_again_where_it_was(tmp_path):
    sweep = ("-m", "debug=fast", f"paths.output={tmp_path}", "scorer.order=first_stage,reversed")
    done = run(*sweep, "selection.heads=2,99", ok=False)
    jobs = {p.parent.name: json.loads(p.read_text()) for p in tmp_path.rglob("status.json")}
    assert sorted(status["state"] for status in jobs.values()) == ["failed", "failed", "finished", "finished"]
    for name, status in jobs.items():
        assert (status["state"] == "failed") == ("selection.heads-99" in name)
        if status["state"] == "failed":
            assert re.search(r"\b99\b", status["error"])
            assert "Traceback" in status["traceback"]
    assert len(re.findall(r"^failed: .*heads-99.*: .*\b99\b", done.stderr, re.MULTILINE)) == 2
    runs = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.trec")}
    assert len(runs) == 4  # two finished jobs, the first stage's run and the system's
    run(*sweep, "selection.heads=2,99", ok=False)  # the same command: finished jobs return at once
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.trec")} == runs


@pytest.mark.slow
def test_ablations_in_processes_of_their_own_return_at_once_when_finished(tmp_path):
    sweep = (
        "+sweep=alignment_ablation",
        "+ablation=no_entropy,heads_32",
        "debug=fast",
        "debug.model.overrides.num_attention_heads=8",
        "hydra/launcher=processes",
    )
    places = (f"paths.output={tmp_path}", f"paths.cache={tmp_path / 'cache'}")  # a cache that both begin to fill
    done = run(*sweep, *places, ok=False)
    assert "1 of 2 jobs failed" in done.stderr
    root = tmp_path / "debug-run/alignment_ablation"
    (finished,), (failed,) = root.glob("ablation-no_entropy*"), root.glob("ablation-heads_32*")
    assert json.loads((finished / "status.json").read_text())["state"] == "finished"
    assert re.search(r"\b32\b", (failed / "traceback.txt").read_text().splitlines()[-1])
    written = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if ".hydra" not in path.parts}
    shutil.rmtree(finished / "checkpoint")
    run(*sweep, *places, ok=False)
    assert not (finished / "checkpoint").exists(), "not even what lies below a finished job is made again"
    assert all(path.stat().st_mtime_ns == time for path, time in written.items() if path.is_file())
    assert not list((tmp_path / "cache").rglob("*.tmp"))
    assert main([str(tmp_path)]) == 0
    text = (tmp_path / "comparison.md").read_text()
    assert "1 of 2 runs compared: 1 finished, 1 failed" in text.replace("\\", "")
    assert "zero-shot" in text


def test_an_unknown_option_is_told_with_the_ones_there_are():
    assert "qwen3_0_6b" in run("model=qwen3_8b", ok=False).stderr
