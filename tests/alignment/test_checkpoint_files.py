"""A training that was killed or whose disk was full continues from the last whole checkpoint, or starts anew."""

import errno
import os
import shutil
from dataclasses import replace

import pytest
import torch

from headrank.alignment.checkpoint_files import (
    LAST,
    PREVIOUS,
    AtomicCheckpointIO,
    MovableCheckpoint,
    is_readable,
    prepare_restart,
)
from headrank.alignment.training import EpochCsvWriter
from headrank.errors import DiskError
from headrank.experiment import MAIN_SYSTEM
from headrank.pipeline import run_experiment
from tests.io.test_artifacts import cut, edit_text
from tests.pipelines import ALIGNMENT

CONTENT = {"epoch": 1, "state_dict": {"weight": torch.arange(1000.0)}}


def test_a_checkpoint_is_written_whole_and_the_one_before_is_kept(tmp_path, monkeypatch):
    io = AtomicCheckpointIO()
    for epoch in range(3):
        io.save_checkpoint({**CONTENT, "epoch": epoch}, tmp_path / LAST)
    epochs = [torch.load(tmp_path / name, weights_only=True)["epoch"] for name in (LAST, PREVIOUS)]
    assert epochs == [2, 1]
    assert sorted(os.listdir(tmp_path)) == sorted([LAST, PREVIOUS])
    # a kill at any of the renames leaves a whole checkpoint
    for kill in (1, 2):
        renames, rename = [], os.replace

        def killed(source, target, renames=renames, kill=kill, rename=rename):
            renames.append(target)
            if len(renames) == kill:
                raise SystemExit
            rename(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", killed)
            with pytest.raises(SystemExit):
                io.save_checkpoint(CONTENT, tmp_path / LAST)
        assert any(is_readable(tmp_path / name) for name in (LAST, PREVIOUS))
        assert not list(tmp_path.glob(".*"))


def test_a_full_disk_names_the_checkpoint_and_leaves_the_old_one(tmp_path, monkeypatch):
    io = AtomicCheckpointIO()
    io.save_checkpoint(CONTENT, tmp_path / LAST)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match=LAST) as error:
        io.save_checkpoint(CONTENT, tmp_path / LAST)
    assert error.value.errno == errno.ENOSPC
    assert any(is_readable(tmp_path / name) for name in (LAST, PREVIOUS))


@pytest.mark.parametrize("damage", [cut, edit_text])
def test_damage_is_seen(tmp_path, damage):
    AtomicCheckpointIO().save_checkpoint(CONTENT, tmp_path / LAST)
    assert is_readable(tmp_path / LAST)
    damage(tmp_path / LAST)
    assert not is_readable(tmp_path / LAST)


def test_without_a_whole_checkpoint_nothing_is_left(tmp_path, caplog):
    for name in ("best.ckpt", LAST, PREVIOUS, "epochs.csv"):
        (tmp_path / name).write_text("no checkpoint")
    prepare_restart(tmp_path)
    assert not os.listdir(tmp_path)
    for name in (LAST, PREVIOUS, "best.ckpt"):
        assert str(tmp_path / name) in caplog.text


def test_a_folder_that_moved_remembers_its_best_epoch(tmp_path):
    old = MovableCheckpoint(tmp_path / "old", "best", monitor="val/ndcg@10", mode="max")
    path = str(tmp_path / "old/best.ckpt")
    state = {
        **old.state_dict(),
        "best_model_score": torch.tensor(0.9),
        "best_model_path": path,
        "kth_best_model_path": path,
        "kth_value": torch.tensor(0.9),
        "best_k_models": {path: torch.tensor(0.9)},
    }
    new = MovableCheckpoint(tmp_path / "new", "best", monitor="val/ndcg@10", mode="max")
    new.load_state_dict(state)
    assert new.best_model_score == torch.tensor(0.9)
    assert new.best_k_models == {str(tmp_path / "new/best.ckpt"): torch.tensor(0.9)}
    assert new.best_model_path == str(tmp_path / "new/best.ckpt")


def test_a_training_with_damaged_checkpoints_ends_with_the_same_numbers(experiment, monkeypatch, caplog):
    """In folders that were copied to other places."""
    aligned = replace(
        experiment,
        alignment=replace(ALIGNMENT, epochs=3),
        systems={MAIN_SYSTEM: experiment.systems[MAIN_SYSTEM]},
        benchmarks=experiment.benchmarks[:1],
    )
    undisturbed = run_experiment(replace(aligned, folder=experiment.folder.with_name("undisturbed")))
    write, trained = EpochCsvWriter.on_train_epoch_end, []

    def stop_in_the_third(self, trainer, module):
        write(self, trainer, module)
        trained.append(trainer.current_epoch)
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EpochCsvWriter, "on_train_epoch_end", stop_in_the_third)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run_experiment(aligned)

    def record(self, trainer, module):
        write(self, trainer, module)
        trained.append(trainer.current_epoch)

    monkeypatch.setattr(EpochCsvWriter, "on_train_epoch_end", record)
    for names, epochs in (([LAST], [1, 2]), ([LAST, PREVIOUS], [0, 1, 2]), (["best.ckpt"], [0, 1, 2])):
        copy = replace(aligned, folder=experiment.folder.with_name("-".join(names)))
        shutil.copytree(aligned.folder, copy.folder)
        for name in names:
            cut(copy.folder / "training" / name)
        caplog.clear()
        trained.clear()
        assert run_experiment(copy).results == undisturbed.results
        assert trained == epochs
        assert str(copy.folder / "training" / names[0]) in caplog.text
