"""Run folders: the lock, the checksums of artifacts, what a damaged file leads to, what killed writers leave."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from headrank.errors import ArtifactError, InUseError
from headrank.evaluation.run_folder import read_run_folder
from headrank.experiment import MAIN_SYSTEM
from headrank.io.artifacts import RunFolder
from headrank.pipeline import finished_objective, run_experiment
from tests.pipelines import ALIGNMENT, files, no_model

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from headrank.io.artifacts import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path / "run"`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_at_once_and_told_who_holds_the_folder(experiment, holder):
    (experiment.folder / "status.json").write_text('{"state": "running"}')
    before = time.monotonic()
    with pytest.raises(InUseError) as refusal:
        run_experiment(experiment)
    assert time.monotonic() - before < 5
    name = json.loads((experiment.folder / ".holder.json").read_text())
    for part in (str(experiment.folder), str(holder.pid), name["host"], name["started"]):
        assert part in str(refusal.value)
    assert RunFolder(experiment.folder).status() == {"state": "running"}, "the status is the other process's"
    assert finished_objective(experiment) is None, "reading needs no lock"


def test_a_killed_process_leaves_no_lock(experiment, holder):
    holder.kill()
    holder.wait()
    assert run_experiment(experiment).results
    assert not (experiment.folder / ".holder.json").exists()
    with RunFolder(experiment.folder).lock():
        pass


def test_what_a_killed_writer_left_in_the_run_folder_is_removed_at_the_next_start(experiment):
    left = [experiment.folder / f"{place}.heads.json.{'0' * 32}.tmp" for place in ("", "runs/headrank/", "metrics/")]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    folder = experiment.folder / f".checkpoint.new.{'1' * 32}.tmp"
    folder.mkdir()
    (folder / "model.safetensors").write_text("half")
    mine = experiment.folder / "notes.tmp"
    mine.write_text("mine")
    run_experiment(experiment)
    assert not any(path.exists() for path in [*left, folder])
    assert mine.read_text() == "mine"


def test_leftovers_in_the_cache_are_removed_only_when_no_process_can_be_writing_them(experiment):
    old, new = (experiment.cache / f"bm25_runs/.x.npz.{n * 32}.tmp" for n in "01")
    old.parent.mkdir(parents=True)
    old.write_text("half")
    new.write_text("half")
    yesterday = time.time() - 2 * 24 * 3600
    os.utime(old, (yesterday, yesterday))
    run_experiment(experiment)
    assert not old.exists()
    assert new.exists(), "another process may be writing it"


def edit_text(path):
    text = path.read_bytes()
    place = len(text) // 2
    path.write_bytes(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :])


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


ARTIFACTS = [
    "heads.json",
    "heads/random.json",
    "head_curves.json",
    "runs/headrank/one.trec",
    "runs/icr/two.contexts.json",
    "runs/first_stage/one.trec",
    "metrics/two.json",
]


@pytest.mark.parametrize("damage", [cut, edit_text, Path.unlink])
def test_a_damaged_artifact_is_made_again_and_named(experiment, caplog, damage):
    first = run_experiment(experiment)
    written = {name: (experiment.folder / name).read_bytes() for name in ARTIFACTS}
    before = files(experiment.folder)
    for name in ARTIFACTS:
        caplog.clear()
        damage(experiment.folder / name)
        assert run_experiment(experiment).results == first.results
        after = files(experiment.folder)
        made = {other for other in after if after[other] != before[other]} | {name}
        assert made <= {name, name.replace(".trec", ".contexts.json"), name.replace(".contexts.json", ".trec")}
        before = after
        if damage is not Path.unlink:
            warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
            assert any(str(experiment.folder / name) in message for message in warned), (name, warned)
        if not name.endswith(".contexts.json"):  # it holds how long the pass took
            assert (experiment.folder / name).read_bytes() == written[name]


def test_an_edited_artifact_makes_a_finished_run_unfinished(experiment):
    known = replace(experiment, config_yaml="name: test\n")
    outcome = run_experiment(known)
    assert finished_objective(known) == outcome.objective
    edit_text(experiment.folder / "runs/headrank/one.trec")
    assert finished_objective(known) is None
    run_experiment(known)
    assert finished_objective(known) == outcome.objective


def test_edited_metrics_are_in_no_report(experiment):
    run_experiment(experiment)
    assert read_run_folder(experiment.folder).state == "finished"
    edit_text(experiment.folder / "metrics/one.json")
    found = read_run_folder(experiment.folder)
    assert (found.state, found.results) == ("unreadable", ())
    assert "metrics/one.json" in found.reason
    other = replace(experiment, report=replace(experiment.report, compared_runs=(str(experiment.folder),)))
    with pytest.raises(ArtifactError, match=r"metrics/one\.json"):
        run_experiment(replace(other, folder=experiment.folder.with_name("other")))


@pytest.mark.parametrize("damage", [cut, edit_text])
@pytest.mark.parametrize("name", ["checkpoint/model.safetensors", "checkpoint/heads.json", "training/epochs.csv"])
def test_a_damaged_alignment_is_an_error_that_names_the_file(experiment, monkeypatch, name, damage):
    aligned = replace(experiment, alignment=replace(ALIGNMENT, epochs=1))
    run_experiment(aligned)
    damage(experiment.folder / name)
    no_model(monkeypatch)
    with pytest.raises(ArtifactError, match=name):
        run_experiment(aligned)


def test_a_damaged_head_table_is_read_again_and_named(experiment, caplog):
    first = run_experiment(experiment)
    heads = (experiment.folder / "heads.json").read_bytes()
    tables = sorted((experiment.cache / "head_tables").glob("*.safetensors"))
    assert tables
    for damage in (cut, edit_text, lambda path: path.with_name(f".{path.name}.sum").unlink()):
        caplog.clear()
        for table in tables:
            damage(table)
        again = replace(experiment, folder=experiment.folder.with_name("again"))
        (again.folder / "heads.json").unlink(missing_ok=True)
        assert run_experiment(again).results == first.results
        assert (again.folder / "heads.json").read_bytes() == heads
        assert any(str(tables[0]) in record.getMessage() for record in caplog.records)


def test_an_unreadable_status_is_named_and_does_not_stop_a_run(experiment, caplog):
    run_experiment(experiment)
    (experiment.folder / "status.json").write_text('{"state": "fini')
    assert run_experiment(experiment).results
    assert str(experiment.folder / "status.json") in caplog.text
    assert RunFolder(experiment.folder).status()["state"] == "finished"


@pytest.mark.parametrize("files", ['{"a": 3}', "[1]", "7", '{"a": null}'])
def test_an_unreadable_record_is_named_and_the_artifact_is_made_again(files, tmp_path, caplog):
    folder, made = RunFolder(tmp_path), []

    def write(path):
        made.append(path)
        path.write_text("content")

    folder.make("a", "key", write)
    record = tmp_path / ".keys/a.key"
    record.write_text(f'{{"key": "key", "files": {files}}}')
    folder.check("a", "key")
    assert folder.edited_file() is None
    assert folder.make("a", "key", write)
    assert not folder.make("a", "key", write)
    assert len(made) == 2
    assert str(record) in caplog.text


def test_seconds_of_a_status_that_are_no_numbers_are_ignored(tmp_path):
    (tmp_path / "status.json").write_text('{"seconds": {"select": "x", "rerank": 2.5}}')
    folder = RunFolder(tmp_path)
    folder.set_status("running", "select")
    folder.set_status("running", "rerank")
    assert folder.seconds.keys() == {"select", "rerank"}
    assert folder.seconds["rerank"] == 2.5


def test_equal_heads_of_one_system_serve_two_starts_after_a_kill(experiment, tmp_path):
    """kill -9 between an artifact and its key: it is made again, from a folder that nobody holds."""
    code = f"""
import os, pickle, signal, sys
import headrank.io.artifacts as artifacts
artifacts.RunFolder.record = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from headrank.pipeline import run_experiment
run_experiment(pickle.load(open({str(tmp_path / "experiment.pickle")!r}, "rb")))
"""
    import pickle

    (tmp_path / "experiment.pickle").write_bytes(pickle.dumps(experiment))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert (experiment.folder / "heads.json").is_file()
    assert (experiment.folder / ".holder.json").is_file()
    assert MAIN_SYSTEM in run_experiment(experiment).results[0].systems
