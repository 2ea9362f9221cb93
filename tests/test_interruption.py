"""Ctrl-C, signals, time limits and full disks: one clear line, the state in `status.json`, a folder that resumes."""

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import headrank.io.files as files_module
from headrank.errors import DiskError
from headrank.evaluation.comparison.comparison import state_lines
from headrank.evaluation.run_folder import read_run_folder
from headrank.experiment import MAIN_SYSTEM
from headrank.interruption import Interrupted, interruptible, interruption
from headrank.pipeline import run_experiment
from tests.pipelines import ALIGNMENT

ROOT = Path(__file__).parents[1]


def on_write(monkeypatch, part, act):
    """Have `act()` called right before a file whose path holds `part` gets its name."""
    plain = os.replace

    def replaced(source, target):
        if part in str(target):
            act()
        plain(source, target)

    monkeypatch.setattr(files_module.os, "replace", replaced)


def status(experiment):
    return json.loads((experiment.folder / "status.json").read_text())


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP"), (signal.SIGINT, "Ctrl-C")]
)
def test_a_signal_interrupts_a_run_that_resumes(experiment, monkeypatch, caplog, number, name):
    small = replace(
        experiment, systems={MAIN_SYSTEM: experiment.systems[MAIN_SYSTEM]}, benchmarks=experiment.benchmarks[:1]
    )
    with monkeypatch.context() as patch:
        on_write(patch, "/runs/headrank/", lambda: os.kill(os.getpid(), number))
        with pytest.raises(SystemExit) as ended, interruptible():
            run_experiment(small)
    assert ended.value.code == 128 + number
    assert (status(small)["state"], status(small)["stage"], status(small)["error"]) == ("interrupted", "rerank", name)
    assert not (small.folder / "traceback.txt").exists()
    lines = [record.getMessage() for record in caplog.records if "interrupted" in record.getMessage()]
    assert len(lines) == 1
    assert name in lines[0]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    (line,) = state_lines([read_run_folder(small.folder)])
    assert "interrupted at stage rerank" in line
    assert name in line
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "the handlers are as before"
    assert run_experiment(small).results
    assert status(small)["state"] == "finished"


def test_sigterm_within_a_training_resumes_from_its_last_epoch(experiment, monkeypatch):
    small = replace(
        experiment,
        alignment=replace(ALIGNMENT, epochs=2),
        systems={MAIN_SYSTEM: experiment.systems[MAIN_SYSTEM]},
        benchmarks=experiment.benchmarks[:1],
    )
    other = {"folder": experiment.folder.with_name("undisturbed"), "cache": experiment.cache.with_name("other_cache")}
    undisturbed = run_experiment(replace(small, **other))
    from headrank.alignment.training import EpochCsvWriter

    write, epochs = EpochCsvWriter.on_train_epoch_end, []

    def end(self, trainer, module):
        write(self, trainer, module)
        epochs.append(trainer.current_epoch)
        if len(epochs) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(EpochCsvWriter, "on_train_epoch_end", end)
    with pytest.raises(SystemExit) as ended, interruptible():
        run_experiment(small)
    assert ended.value.code == 143
    assert (status(small)["state"], status(small)["stage"]) == ("interrupted", "align")
    assert run_experiment(small).results == undisturbed.results
    assert epochs == [0, 1, 1]


RUN = """
import sys, time
import headrank.pipeline
def run_experiment(*_):
    print("ready", flush=True)
    time.sleep(60)
headrank.pipeline.run_experiment = run_experiment
from headrank.run import main
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_command_line_ends_with_one_line_and_the_signals_exit_code(tmp_path, number, code):
    command = [sys.executable, "-c", RUN, f"paths.output={tmp_path}"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert len([line for line in errors.splitlines() if "interrupted" in line]) == 1


def test_what_is_ignored_or_handled_elsewhere_is_left_alone():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    seen = []
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        signal.signal(signal.SIGTERM, lambda *_: seen.append("handled"))  # submitit
        with interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
        assert seen == ["handled"]
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_slurm_announces_a_time_limit(monkeypatch, number):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with pytest.raises(Interrupted) as ended, interruptible():
        os.kill(os.getpid(), number)
    assert ended.value.code == 128 + number
    assert "17" in (interruption(ended.value) or "")
    assert "time limit" in (interruption(ended.value) or "")


def test_a_job_that_submitit_requeues_says_so(experiment, monkeypatch):
    """submitit's handler puts the job into the queue again and exits with -1, from wherever the job is."""
    submitit = ModuleType("submitit.core.job_environment")
    exec("import sys\ndef checkpoint_and_try_requeue(): sys.exit(-1)", submitit.__dict__)
    on_write(monkeypatch, "/runs/headrank/", submitit.checkpoint_and_try_requeue)
    with pytest.raises(SystemExit) as ended, interruptible():
        run_experiment(experiment)
    assert ended.value.code == -1
    assert status(experiment)["state"] == "interrupted"
    assert "queue" in status(experiment)["error"]


def test_an_interruption_survives_pickling():
    again = pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM)))
    assert (again.code, again.number) == (143, signal.SIGTERM)
    assert interruption(ValueError("a failure")) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_error_names_the_path_and_the_run_resumes(experiment, monkeypatch, number):
    small = replace(experiment, systems={MAIN_SYSTEM: experiment.systems[MAIN_SYSTEM]})
    plain = os.fsync

    def full(descriptor):
        if "one.trec" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        plain(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskError) as error:
            run_experiment(small)
    assert error.value.errno == number
    assert error.value.filename == str(small.folder / "runs/headrank/one.trec")
    assert str(small.folder / "runs/headrank/one.trec") in status(small)["error"]
    assert status(small)["state"] == "failed"
    assert not list(small.folder.rglob(".*.tmp"))
    assert run_experiment(small).results


def test_the_first_error_is_raised_when_even_the_status_cannot_be_written(experiment, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        on_write(patch, "heads.json", lambda: patch.setattr(os, "fsync", full) or full(0))
        with pytest.raises(DiskError, match=r"heads\.json") as error:
            run_experiment(experiment)
    assert error.value.errno == errno.ENOSPC


def test_an_error_of_safetensors_names_the_path_too(tmp_path):
    from headrank.io.files import atomic_write

    with pytest.raises(DiskError, match=r"table\.safetensors") as error, atomic_write(tmp_path / "table.safetensors"):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert error.value.errno == errno.ENOSPC
