"""What a second start of the pipeline makes again, after a kill or a change, and what not."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import headrank.stages.select as select_module
import headrank.stages.shared_runs as shared_runs_module
from headrank.experiment import MAIN_SYSTEM, UNALIGNED_SYSTEM
from headrank.heads import HeadsFile
from headrank.model import ScorerSettings
from headrank.pipeline import finished_objective, run_experiment
from tests.baselines.test_pipeline import Backwards
from tests.pipelines import ALIGNMENT, files, no_model

ROOT = Path(__file__).parents[1]


def test_a_second_run_loads_no_model_and_writes_no_artifact(experiment, monkeypatch):
    first = run_experiment(experiment)
    before = files(experiment.folder)
    assert len(before) >= 3 + 3 * 4
    no_model(monkeypatch)
    again = run_experiment(experiment)
    assert files(experiment.folder) == before
    assert again.results == first.results


def test_words_about_the_data_change_no_artifact(experiment, monkeypatch):
    run_experiment(experiment)
    before = files(experiment.folder)
    no_model(monkeypatch)
    said = tuple(replace(one, notice="read this", licence="CC BY") for one in experiment.benchmarks)
    run_experiment(replace(experiment, benchmarks=said))
    assert files(experiment.folder) == before
    assert "read this" in (experiment.folder / "report.md").read_text()


def test_only_what_depends_on_a_change_is_made_again(experiment, monkeypatch):
    run_experiment(experiment)
    before = files(experiment.folder)
    # Another metric: metrics alone, without a model.
    with monkeypatch.context() as patch:
        no_model(patch)
        run_experiment(replace(experiment, metrics=("ndcg@10", "mrr@10")))
    after = files(experiment.folder)
    assert {name for name in before if before[name] != after[name]} == {"metrics/one.json", "metrics/two.json"}
    # Another number of heads of one system: its heads and runs, and the metrics; no list is read for selection again.
    random = replace(experiment.systems["random"], heads=4)
    changed = replace(experiment, systems={**experiment.systems, "random": random}, metrics=("ndcg@10", "mrr@10"))
    with monkeypatch.context() as patch:
        patch.setattr(select_module, "load_backbone", None)
        run_experiment(changed)
    last = files(experiment.folder)
    assert {name for name in after if after[name] != last[name]} == {
        "heads/random.json",
        "runs/random/one.trec", "runs/random/one.contexts.json",
        "runs/random/two.trec", "runs/random/two.contexts.json",
        "metrics/one.json", "metrics/two.json",
    }  # fmt: skip


@pytest.mark.parametrize("writes", [1, 4, 9])
def test_killed_at_any_write_it_ends_the_same(experiment, tmp_path, writes):
    """kill -9 right before the n-th artifact gets its name; the second start comes to the undisturbed numbers."""
    code = f"""
import os, pickle, signal, sys
import headrank.io.files as files
from headrank.pipeline import run_experiment
count, replace = 0, os.replace
def kill(source, target):
    global count
    if any(part in str(target) for part in ("/runs/", "/heads", "/metrics/")):
        count += 1
        if count == {writes}:
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
files.os.replace = kill
run_experiment(pickle.load(open(sys.argv[1], "rb")))
"""
    import pickle

    path = tmp_path / "experiment.pickle"
    path.write_bytes(pickle.dumps(experiment))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, env=environment, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    undisturbed = run_experiment(replace(experiment, folder=tmp_path / "undisturbed"))
    assert run_experiment(experiment).results == undisturbed.results


def test_a_finished_run_is_known_until_something_it_depends_on_changes(experiment, make_folder):
    other = str(make_folder("other"))
    content = {"name": "test", "collection": experiment.train[0].collection, "other": other, "paths": {"output": "a"}}
    known = replace(experiment, config=content)
    assert finished_objective(known) is None
    outcome = run_experiment(known)
    assert finished_objective(known) == outcome.objective
    assert finished_objective(replace(known, config=content | {"paths": {"output": "b"}})) == outcome.objective
    assert finished_objective(replace(known, config=content | {"name": "changed"})) is None
    assert finished_objective(replace(known, config={})) is None
    with (Path(other) / "qrels.txt").open("a") as file:
        file.write("q1 0 d5 0\n")
    assert finished_objective(known) is None, "a file that the configuration names has changed"
    run_experiment(known)
    assert finished_objective(known) is not None
    (experiment.folder / "metrics/two.json").unlink()
    assert finished_objective(known) is None


def test_how_lists_are_batched_makes_nothing_anew_but_heads(experiment):
    run_experiment(experiment)
    before = files(experiment.folder)
    main = replace(experiment.systems[MAIN_SYSTEM], scorer=ScorerSettings(batch_size=2, tokens_per_batch=500))
    run_experiment(replace(experiment, systems={**experiment.systems, MAIN_SYSTEM: main}))
    after = files(experiment.folder)
    assert {name for name in after if after[name] != before[name]} == {"heads.json"}
    assert HeadsFile.load(experiment.folder / "heads.json").scorer.tokens_per_batch == 500


def full_disk(*_):
    raise OSError("no space left on device")


def test_runs_that_nothing_was_trained_for_are_shared_on_request(experiment, monkeypatch, caplog):
    backwards = {"backwards": Backwards()}
    experiment = replace(experiment, rerankers=backwards)
    shared = experiment.folder.with_name("shared")
    first = run_experiment(replace(experiment, shared_runs=shared))
    other = replace(experiment, folder=experiment.folder.with_name("other"))
    with monkeypatch.context() as patch:
        no_model(patch)
        with pytest.raises(AssertionError, match="a model was loaded"):
            run_experiment(other)
        patch.setattr(Backwards, "load", None)
        again = run_experiment(replace(other, shared_runs=shared))
    assert again.results == first.results
    for name in ("runs/headrank/one.trec", "runs/random/one.trec", "runs/icr/one.contexts.json"):
        assert (other.folder / name).read_bytes() == (experiment.folder / name).read_bytes()
    # Of an aligned experiment the heads before training are the plain one's, under another name.
    kept = sorted(path.parent for path in shared.glob("*/.checksums.json"))
    assert len(kept) == 4 * 2, "systems times benchmarks"
    aligned = replace(other, folder=experiment.folder.with_name("aligned"), alignment=ALIGNMENT, shared_runs=shared)
    outcome = run_experiment(aligned)
    assert outcome.results[0].systems[UNALIGNED_SYSTEM] == first.results[0].systems[MAIN_SYSTEM]
    assert (aligned.folder / "runs/zero-shot/one.trec").read_text().split()[5] == "headrank-zero-shot"
    assert sorted(path.parent for path in shared.glob("*/.checksums.json")) == kept, "what was trained is no one else's"
    # Half of one (a kill between its files) is made again, and a disk that is full costs no run.
    (kept[0] / ".checksums.json").unlink()
    shutil.rmtree(other.folder)
    assert run_experiment(replace(other, shared_runs=shared)).results == first.results
    assert (kept[0] / ".checksums.json").is_file()
    shutil.rmtree(other.folder)
    monkeypatch.setattr(shared_runs_module.shutil, "copyfile", full_disk)
    assert run_experiment(replace(other, shared_runs=other.folder.with_name("empty"))).results == first.results
    assert "could not be kept for other jobs" in caplog.text
