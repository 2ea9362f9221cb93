"""Several processes align through the pipeline as one does: started by it, or by torchrun. Each test starts its own."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from headrank.alignment.settings import TrainerSettings
from headrank.io.epoch_log import read_epoch_log
from headrank.io.launch import Launch

ROOT = Path(__file__).parents[2]
WORDS = (
    "debug=fast", "alignment=lora", "trainer.progress_bar=false", "debug.max_queries=11", "debug.validation_queries=3",
    "alignment.epochs=2", "alignment.lists_per_step=2",
)  # fmt: skip
TWO = ("trainer.devices=2", "trainer.strategy=ddp")
pytestmark = pytest.mark.slow


def start(folder: Path, *words: str, torchrun: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m"]
    if torchrun:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command += ["torch.distributed.run", f"--nproc-per-node={torchrun}", f"--master-port={port}", "-m"]
    command += ["headrank.run", *WORDS, f"paths.output={folder}", f"paths.cache={folder / 'cache'}", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(folder: Path, *words: str, torchrun: int = 0, ok: bool = True) -> str:
    with start(folder, *words, torchrun=torchrun) as process:
        said, _ = process.communicate(timeout=300)
    assert (process.returncode == 0) == ok, said[-4000:]
    return said


def outcome(folder: Path) -> tuple[list[dict[str, float]], dict[str, torch.Tensor], list[list[int]], float]:
    """Epochs, trained matrices, heads, objective."""
    folder = folder / "debug-run"
    with (folder / "training/epochs.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    heads = json.loads((folder / "checkpoint/heads.json").read_text())["heads"]
    weights = load_file(next((folder / "checkpoint").glob("*.safetensors")))
    return rows, weights, heads, json.loads((folder / "status.json").read_text())["objective"]


def same(one, other):
    assert len(one[0]) == len(other[0]) == 2
    for a, b in zip(one[0], other[0], strict=True):
        assert a == pytest.approx(b, abs=1e-4)
    assert one[1].keys() == other[1].keys()
    for name, weight in one[1].items():
        torch.testing.assert_close(weight, other[1][name], rtol=1e-4, atol=1e-5, msg=name)
    assert one[2] == other[2]
    assert one[3] == pytest.approx(other[3], abs=1e-6)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    run(folder)
    return outcome(folder)


def test_two_processes_that_the_pipeline_starts(alone, tmp_path):
    run(tmp_path, *TWO)
    same(alone, outcome(tmp_path))


def test_two_processes_that_torchrun_starts(alone, tmp_path):
    said = run(tmp_path, *TWO, torchrun=2)
    same(alone, outcome(tmp_path))
    assert said.count("report: ") == 1, "the first process alone reports"
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name != "cache"] == ["debug-run"]


def test_a_finished_alignment_is_not_trained_again_and_keeps_no_process_waiting(alone, tmp_path):
    run(tmp_path, *TWO)
    before = (tmp_path / "debug-run/training/epochs.csv").stat().st_mtime_ns
    run(tmp_path, *TWO, torchrun=2)
    assert (tmp_path / "debug-run/training/epochs.csv").stat().st_mtime_ns == before


def test_sharded_training_is_the_same_training(alone, tmp_path):
    run(tmp_path, "trainer.devices=2", "trainer.strategy=fsdp")
    same(alone, outcome(tmp_path))


def test_folds_of_two_processes_are_those_of_one(tmp_path):
    words = ("alignment.folds=2", "alignment.validation_queries=0", "alignment.epochs=1", "alignment.average_decay=0.5")
    curves = []
    for name, how in (("alone", {}), ("torchrun", {"torchrun": 2})):
        run(tmp_path / name, *words, *(TWO if how else ()), **how)
        training = tmp_path / name / "debug-run/training"
        curves.append([read_epoch_log(training / f"{part}/epochs.csv")[0] for part in ("fold_1", "fold_2", ".")])
    for one, other in zip(*curves, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert all("val/ndcg@10" in row for row in curves[0][:2])


def test_a_failure_of_the_first_ends_all(tmp_path):
    said = run(tmp_path, *TWO, "selection.heads=99", torchrun=2, ok=False)
    assert re.search(r"\bheads\b.*\b99\b", said)
    assert json.loads((tmp_path / "debug-run/status.json").read_text())["state"] == "failed"


def test_fewer_queries_than_processes_are_refused_before_any_work(tmp_path):
    said = run(tmp_path, *TWO, "alignment.validation_queries=1", ok=False)
    assert "1 validation lists for 2 processes" in said
    assert not (tmp_path / "debug-run/heads.json").exists()
    assert not (tmp_path / "debug-run/checkpoint").exists()


def test_killed_and_started_again_with_another_number_of_processes(alone, tmp_path):
    record = tmp_path / "debug-run/training/epochs.csv"
    process = start(tmp_path, *TWO)
    while not record.is_file():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(1)
    run(tmp_path)
    same(alone, outcome(tmp_path))


@pytest.mark.parametrize(
    ("settings", "started", "said"),
    [
        ({"accelerator": "cpu", "devices": 2}, Launch("torchrun", 0, 3), "torchrun started 3 processes"),
        ({"accelerator": "cpu", "num_nodes": 2}, Launch(), "trainer.num_nodes is 2"),
        ({"accelerator": "gpu"}, Launch(), "trainer.accelerator is gpu"),
    ],
)
def test_devices_that_are_not_there_are_refused(settings, started, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=said):
        TrainerSettings(**settings).check(started)


def test_more_devices_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    TrainerSettings().check(Launch())
    TrainerSettings(accelerator="cpu", devices=2).check(Launch("torchrun", 1, 2))
    with pytest.raises(ValueError, match=r"trainer\.devices is 2"):
        TrainerSettings(devices=2).check(Launch())
    with pytest.raises(ValueError, match="devices above 1"):
        TrainerSettings(strategy="fsdp")


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, Launch()),
        ({"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "WORLD_SIZE": "2"}, Launch("torchrun", 1, 2)),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}, Launch("srun", 3, 4)),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, Launch()),
    ],
)
def test_which_of_the_processes_this_is(environment, found):
    assert Launch.from_environment(environment) == found
