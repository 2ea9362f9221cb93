"""Two processes train as one does: the same parameters, the same losses, no query counted twice.

Run as a module (`torchrun --nproc-per-node 2 -m tests.alignment.test_ddp FOLDER DEVICES`) it is one of the processes.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from headrank.alignment.averaging import WeightAverage
from headrank.alignment.callbacks import ReselectHeads
from headrank.alignment.optimizer import OptimizerSettings
from headrank.heads import EntropyRegularized
from headrank.model import Head
from tests.alignment.toy import KEPT_CLOSE, attention_only, fit, toy_data, toy_module
from tests.tiny import tiny_backbone, tiny_tokenizer


class Measures(Callback):
    """Each epoch's logged values, and how many queries every process validated."""

    def __init__(self):
        self.values, self.own = [], []

    def on_validation_epoch_end(self, trainer, pl_module):
        self.own.append(sorted(record.ranking.query_id for record in pl_module._records))

    def on_train_epoch_end(self, trainer, pl_module):
        self.values.append({name: float(value) for name, value in trainer.callback_metrics.items() if name != "loss"})


def train(folder: Path, devices: int) -> None:
    """Two steps of four lists and one of a single list an epoch, whatever the number of processes."""
    data = toy_data(folder / f"toy-{devices}", queries=12, validation_queries=3, lists_per_batch=4 // devices)
    module = toy_module(
        tiny_backbone("qwen3", tiny_tokenizer()),
        [Head(0, 0), Head(0, 1)],
        max_layer=3,
        losses=KEPT_CLOSE,
        trained=attention_only("full"),
        optimizer=OptimizerSettings(lr=1e-3, warmup_fraction=0.0),
        gradient_checkpointing=True,
    )
    measures = Measures()
    settings = {"strategy": "ddp", "devices": devices} if devices > 1 else {"devices": 1}
    callbacks = [WeightAverage(0.5), ReselectHeads(EntropyRegularized(), reselect_every=2), measures]
    trainer = fit(module, data, 3, folder, callbacks=callbacks, num_sanity_val_steps=0, **settings)
    result = {
        "values": measures.values,
        "own": measures.own,
        "heads": [list(head) for head in module.heads],
        "raw": callbacks[0].state_dict()["others"],
        "trained": {name: parameter.detach().clone() for name, parameter in module.trained.items()},
    }
    torch.save(result, folder / f"{devices}-{trainer.global_rank}.pt")


def launch(folder: Path, devices: int) -> list[dict]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={devices}", f"--master-port={port}"]
    command += ["-m", "tests.alignment.test_ddp", str(folder), str(devices)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [torch.load(folder / f"{devices}-{rank}.pt", weights_only=True) for rank in range(devices)]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    (alone,), (first, second) = launch(tmp_path, 1), launch(tmp_path, 2)
    for name, value in alone["trained"].items():
        assert torch.equal(first["trained"][name], second["trained"][name])
        torch.testing.assert_close(first["trained"][name], value, rtol=1e-4, atol=1e-5)
        assert torch.equal(first["raw"][name], second["raw"][name])
        assert not torch.equal(first["raw"][name], first["trained"][name]), "the module holds the average"
    assert alone["heads"] == first["heads"] == second["heads"] != [[0, 0], [0, 1]]
    assert first["values"] == second["values"]
    assert len(alone["values"]) == 3
    for one, two in zip(alone["values"], first["values"], strict=True):
        assert one == pytest.approx(two, abs=1e-4)
        assert {"val/ndcg@10", "train/loss"} <= one.keys()
    for whole, part, other in zip(alone["own"], first["own"], second["own"], strict=True):
        assert len(whole) == 3
        assert sorted(part + other) == whole  # each query once, in one process
        assert {len(part), len(other)} == {1, 2}


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(Path(sys.argv[1]), int(sys.argv[2]))
