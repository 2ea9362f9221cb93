"""What a second start of the pipeline makes again, after a kill or a change, and what not."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import headrank.stages.run_cache as run_cache_module
import headrank.stages.select as select_module
from headrank.evaluation import ReportSettings
from headrank.experiment import MAIN_SYSTEM, UNALIGNED_SYSTEM
from headrank.heads import HeadsFile
from headrank.model import ScorerSettings
from headrank.pipeline import finished_objective, run_experiment
from headrank.stages.run_cache import cache_key
from tests.baselines.test_pipeline import Backwards
from tests.pipelines import ALIGNMENT, files, no_model

ROOT = Path(__file__).parents[1]


def test_a_second_run_loads_no_model_and_writes_no_artifact(experiment, monkeypatch):
    first = run_experiment(experiment)
    before = files(experiment.folder)
    assert len(before) >= 3 + 3 * 4
    assert {"examples/one.json", "examples/two.json"} <= before.keys()
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
    undisturbed = run_experiment(replace(experiment, folder=tmp_path / "undisturbed", cache=tmp_path / "other_cache"))
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


def cached_runs(experiment):
    return sorted(path.parent for path in (experiment.cache / "runs").glob("*/.checksums.json"))


def test_runs_of_untrained_systems_are_copied_from_the_cache(experiment, monkeypatch, caplog):
    experiment = replace(
        experiment, rerankers={"backwards": Backwards()}, report=ReportSettings(examples=0)
    )  # examples are explained by the model
    first = run_experiment(experiment)
    other = replace(experiment, folder=experiment.folder.with_name("other"))
    with monkeypatch.context() as patch:
        no_model(patch)
        patch.setattr(Backwards, "load", None)
        assert run_experiment(other).results == first.results
    for name in ("runs/headrank/one.trec", "runs/random/one.trec", "runs/icr/one.contexts.json"):
        assert (other.folder / name).read_bytes() == (experiment.folder / name).read_bytes()
    cached = cached_runs(experiment)
    assert len(cached) == 4 * 2, "systems times benchmarks"
    # The heads before alignment are the plain experiment's, under another name; an aligned system is not cached.
    aligned = replace(other, folder=experiment.folder.with_name("aligned"), alignment=ALIGNMENT)
    outcome = run_experiment(aligned)
    assert outcome.results[0].systems[UNALIGNED_SYSTEM] == first.results[0].systems[MAIN_SYSTEM]
    assert (aligned.folder / "runs/zero-shot/one.trec").read_text().split()[5] == "headrank-zero-shot"
    assert cached_runs(experiment) == cached
    # A kill between the files of an entry leaves no checksums: it is rebuilt.
    (cached[0] / ".checksums.json").unlink()
    shutil.rmtree(other.folder)
    assert run_experiment(other).results == first.results
    assert cached_runs(experiment) == cached
    # A full disk costs no run.
    shutil.rmtree(other.folder)
    shutil.rmtree(experiment.cache / "runs")
    monkeypatch.setattr(run_cache_module.shutil, "copyfile", full_disk)
    assert run_experiment(other).results == first.results
    assert "could not be cached" in caplog.text


def test_a_cache_that_cannot_be_locked_costs_no_run(experiment, monkeypatch, caplog):
    first = run_experiment(experiment)
    monkeypatch.setattr(run_cache_module, "cache_lock", full_disk)
    shutil.rmtree(experiment.folder)
    assert run_experiment(experiment).results == first.results
    assert "without the cache" in caplog.text


def test_a_seed_counts_only_for_the_systems_that_use_it(experiment):
    """As in `sweep=seeds`: the shuffled system is computed again, the others are copied."""
    run_experiment(experiment)
    cached = cached_runs(experiment)
    systems = {
        name: replace(system, scorer=replace(system.scorer, seed=7)) for name, system in experiment.systems.items()
    }
    run_experiment(replace(experiment, folder=experiment.folder.with_name("seed7"), systems=systems))
    assert len(cached) == 3 * 2
    assert len(cached_runs(experiment)) == 3 * 2 + 2


def test_settings_of_speed_count_in_the_cache(experiment):
    """Times of one batch size or kernel are not reported for another."""
    scorer, model = ScorerSettings(), experiment.model
    key = cache_key("run", "cpu", model, scorer)
    assert cache_key("run", "cpu", model, replace(scorer, seed=3)) == key
    assert cache_key("run", "cpu", model, replace(scorer, batch_size=3)) != key
    assert cache_key("run", "cpu", replace(model, compile=True), scorer) != key
    assert cache_key("other run", "cpu", model, scorer) != key
