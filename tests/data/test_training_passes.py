"""The data module under a real Trainer: passes, resumption, two processes."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from headrank.data import DataSettings
from headrank.data.batches import ListBatches, Shard, training_batches
from headrank.data.datamodule import ListwiseDataModule
from headrank.data.labelled import shuffle_context
from tests.data.toy import ids, labelled, ready

ROOT = Path(__file__).parents[2]


# lightning's CombinedLoader makes a LeafSpec(), which torch deprecates: for lightning to mend
lightning_warns = pytest.mark.filterwarnings(r"ignore:.isinstance\(treespec, LeafSpec\). is deprecated:FutureWarning")


class Recorder(LightningModule):
    """Learns nothing; keeps (epoch, query ids, orders) of each training step, and the ids of each validation."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.steps = []
        self.validated = []

    def training_step(self, batch, batch_idx):
        counted = batch.lists if batch.weight else ()
        self.steps.append((self.current_epoch, ids(counted), [one.order for one in counted]))
        return self.weight * len(batch)

    def validation_step(self, batch, batch_idx):
        self.validated += [(self.current_epoch, one.item.query.id, one.order) for one in batch]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def epoch(self, epoch):
        return [step[1:] for step in self.steps if step[0] == epoch]


def fit(data, *, ckpt_path=None, callbacks=(), **options):
    if isinstance(data, DataSettings):
        data = ListwiseDataModule([data], validation_queries=2, lists_per_batch=3)
    module = Recorder()
    options = {"max_epochs": 2, "num_sanity_val_steps": 0} | options
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return module


class SaveAt(Callback):
    """Writes a checkpoint at the end of an epoch, or after one of its batches."""

    def __init__(self, path, epoch, batch=None):
        self.path, self.epoch, self.batch = path, epoch, batch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch and self.batch is None:
            trainer.save_checkpoint(self.path)


@lightning_warns
@pytest.mark.parametrize("lightnings_sampler", [True, False])
def test_a_trainer_sees_each_list_once_an_epoch_in_that_epochs_order(make_source, lightnings_sampler):
    source = make_source(n=12)
    module = fit(source, use_distributed_sampler=lightnings_sampler)
    expected = ready(source, validation_queries=2, lists_per_batch=3)
    held_out = ids(expected.validation_lists)
    for epoch in range(2):
        assert sorted(q for step in module.epoch(epoch) for q in step[0]) == ids(expected.training_lists)
        at = ready(source, validation_queries=2, lists_per_batch=3, shard=Shard(epoch))
        assert module.epoch(epoch) == [(ids(batch), [one.order for one in batch]) for batch in at.train_dataloader()]
        assert sorted(q for e, q, _ in module.validated if e == epoch) == held_out
    assert [step[0] for step in module.epoch(0)] != [step[0] for step in module.epoch(1)]
    assert len({(q, order) for _, q, order in module.validated}) == 2, "one order for each"


@lightning_warns
def test_a_trainer_without_validation(make_source):
    data = ListwiseDataModule([make_source(n=4)], validation_queries=0)
    module = fit(data, max_epochs=1, limit_val_batches=0)
    assert (len(module.steps), module.validated) == (4, [])
    assert data.val_dataloader() == []


@lightning_warns
@pytest.mark.parametrize("options", [{"max_epochs": 3}, {"max_epochs": None, "max_steps": 12}])
@pytest.mark.parametrize(("epoch", "batch"), [(0, None), (1, None), (0, 1), (1, 0), (1, 2)])
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(make_source, tmp_path, epoch, batch, options):
    source = make_source(n=12)  # 10 to train on: 4 batches an epoch
    path = tmp_path / "saved.ckpt"
    whole = fit(source, callbacks=[SaveAt(path, epoch, batch)], **options)
    resumed = fit(source, ckpt_path=path, **options)
    done = 4 * epoch + (4 if batch is None else batch + 1)
    assert len(whole.steps) == 12
    assert resumed.steps == whole.steps[done:]


def test_another_number_of_processes_cannot_go_on_within_an_epoch():
    lists = labelled(8)

    def batches(shard):
        return ListBatches(
            lists,
            plan=lambda lengths, shard: training_batches(lengths, 1, 0, shard),
            read=lambda one, shard, again: shuffle_context(one, str(shard.epoch)),
            shard=lambda: shard,
        )

    first = batches(Shard(1, 0, 2))
    assert first.state_dict() == {}
    passing = iter(first)
    next(passing)
    state = first.state_dict()
    again = batches(Shard(1, 0, 2))
    again.load_state_dict(state)
    assert [ids(batch) for batch in again] == [ids(batch) for batch in passing]
    assert len(list(again)) == 4, "the next pass is whole"
    other = batches(Shard(1, 0, 4))
    other.load_state_dict(state)
    with pytest.raises(ValueError, match=r"epoch 1 by 2 processes.* 4;"):
        list(other)
    later = batches(Shard(2, 0, 4))
    later.load_state_dict(state)
    assert len(list(later)) == 2


TWO_PROCESSES = """
import json, pathlib, sys
from lightning.pytorch import Trainer
from headrank.data import DataSettings
from headrank.data.datamodule import ListwiseDataModule
from tests.data.test_training_passes import Recorder

class Written(Recorder):
    def on_fit_end(self):
        validated = [(epoch, query_id) for epoch, query_id, _ in self.validated]
        place = pathlib.Path(sys.argv[2]) / f"{self.global_rank}.json"
        place.write_text(json.dumps({"training": self.steps, "validation": validated}))

data = ListwiseDataModule([DataSettings("toy", sys.argv[1], "run")], validation_queries=3, lists_per_batch=2)
quiet = dict.fromkeys(["enable_checkpointing", "enable_progress_bar", "enable_model_summary", "logger"], False)
trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=2, num_sanity_val_steps=0, **quiet)
trainer.fit(Written(), datamodule=data)
"""


def test_two_real_processes(make_source, tmp_path):
    source = make_source(n=12)  # 9 to train on: the last batch of one process is empty
    command = [sys.executable, "-c", TWO_PROCESSES, source.collection, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    parts = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for epoch in range(2):
        steps = [[step for step in part["training"] if step[0] == epoch] for part in parts]
        assert [len(part) for part in steps] == [3, 3]
        times = Counter(q for part in steps for _, batch, _ in part for q in batch)
        assert sorted(times.values()) == [1] * 9
        assert [len(batch) for _, batch, _ in steps[0]] == [2, 2, 1]
        assert [len(batch) for _, batch, _ in steps[1]] == [2, 2, 0]
        held_out = [q for part in parts for e, q in part["validation"] if e == epoch]
        assert len(held_out) == len(set(held_out)) == 3
        assert not set(held_out) & set(times)
