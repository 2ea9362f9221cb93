"""Starts of a small run that are interrupted, fail, or repeat: each uploads what it should, once."""

from dataclasses import replace

import pytest

from headrank.alignment import Preference, TrainedSettings, WeightedLosses
from headrank.alignment.settings import AlignmentSettings, TrainerSettings
from headrank.alignment.training import EpochCsvWriter
from headrank.experiment import MAIN_SYSTEM, DataSettings, Experiment, ReadingSettings, SystemSettings
from headrank.heads import EntropyRegularized
from headrank.model import BackboneSettings
from headrank.pipeline import run_experiment
from headrank.tracking import WandbSettings, make_tracker
from headrank.tracking.offline_folders import OfflineFolders
from tests.tracking.offline import offline_runs, synced


@pytest.fixture
def tiny(make_folder, model_folder, tmp_path):
    """An experiment on five passages, and a tracker for each of its starts."""
    data = {"collection": str(make_folder()), "first_stage": "run", "depth": 3}
    alignment = AlignmentSettings(
        WeightedLosses({"preference": (1.0, Preference())}),
        trained=TrainedSettings(rank=2),
        epochs=3,
        lists_per_step=1,
        validation_queries=1,
        trainer=TrainerSettings(accelerator="cpu", progress_bar=False),
    )
    return Experiment(
        name="tiny",
        folder=tmp_path / "tiny",
        cache=tmp_path / "cache",
        model=BackboneSettings(model=str(model_folder)),
        train=(DataSettings(name="train", **data),),
        benchmarks=(DataSettings(name="one", **data),),
        systems={MAIN_SYSTEM: SystemSettings(EntropyRegularized(), heads=3)},
        reading=ReadingSettings(seeds=(0,)),
        alignment=alignment,
        metrics=("ndcg@10",),
    )


def tracker(**changes):
    settings = WandbSettings(project="test", mode="offline", **changes)
    return make_tracker(settings, {"a": 1}, name="tiny", group="sweep")


def test_an_interrupted_alignment_logs_each_epoch_once(tiny, monkeypatch):
    write = EpochCsvWriter.on_train_epoch_end

    def stop_in_the_second(self, trainer, module):
        write(self, trainer, module)  # recorded and tracked, not yet in a checkpoint: it will be trained again
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EpochCsvWriter, "on_train_epoch_end", stop_in_the_second)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run_experiment(tiny, tracker())
    (first,) = offline_runs(tiny.folder)
    run_experiment(tiny, tracker())
    (second,) = offline_runs(tiny.folder)
    assert first.id == second.id
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert first.summary["status/stage"] == "align"
    assert [row["epoch"] for row in first.history] == [0, 1]
    assert [row["epoch"] for row in second.history if "epoch" in row] == [0, 1, 2]
    assert list(first.artifacts) == [f"heads-{first.id}"]
    assert list(second.artifacts) == [f"heads-{first.id}", f"aligned-heads-{first.id}"]
    assert second.logged()["metrics/one/headrank/ndcg_10"] > 0


def test_a_start_that_logs_less_leaves_the_earlier_offline_run(tiny):
    plain = replace(tiny, alignment=None)
    run_experiment(plain, tracker())
    (first,) = offline_runs(tiny.folder)
    (tiny.folder / "heads.json").unlink()
    missing = replace(plain, benchmarks=(replace(tiny.benchmarks[0], collection="./nowhere"),))
    with pytest.raises(Exception, match="nowhere"):
        run_experiment(missing, tracker())
    assert [run.folder for run in offline_runs(tiny.folder)] == [first.folder]
    assert synced(tiny.folder) == {first.folder}


def test_a_killed_start_is_synced_only_if_it_holds_what_the_earlier_one_does(tmp_path):
    for name in ("offline-run-1-id", "offline-run-2-id", "offline-run-3-other"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
        (tmp_path / "wandb" / name / "run-id.wandb").touch()
    first, second, other = sorted((tmp_path / "wandb").iterdir())
    folders = OfflineFolders(tmp_path, "id", second)
    assert synced(tmp_path) == {first, other}
    folders.replace()
    assert synced(tmp_path) == {second, other}
    folders.remove(complete=True)
    assert {*(tmp_path / "wandb").iterdir()} == {second, other}


def test_after_a_failure_the_next_run_of_the_process_is_its_own(tiny):
    missing = replace(tiny.benchmarks[0], collection="./nowhere")
    with pytest.raises(Exception, match="nowhere"):
        run_experiment(replace(tiny, benchmarks=(missing,)), tracker())
    other = replace(tiny, folder=tiny.folder.with_name("other"), alignment=None)
    run_experiment(other, tracker())
    (failed,), (next_one,) = offline_runs(tiny.folder), offline_runs(other.folder)
    assert failed.exit_code == 1
    assert failed.summary["status/stage"] == "data"
    assert "nowhere" in failed.summary["status/error"]
    assert next_one.id != failed.id
    assert next_one.exit_code == 0
    assert (failed.group, next_one.group) == ("sweep", "sweep")
    assert next_one.logged()["metrics/one/headrank/ndcg_10"] > 0


def test_a_checkpoint_above_the_limit_stays_local(tiny, caplog):
    run_experiment(
        replace(tiny, alignment=replace(tiny.alignment, epochs=1)), tracker(log_model=True, max_model_gb=1e-6)
    )
    (run,) = offline_runs(tiny.folder)
    assert set(run.artifacts) == {f"heads-{run.id}", f"aligned-heads-{run.id}"}
    assert "tracking.max_model_gb=1e-06" in caplog.text


def test_names_that_would_share_a_key_are_told_before_any_work(tiny):
    systems = {**tiny.systems, "a b": tiny.systems[MAIN_SYSTEM], "a-b": tiny.systems[MAIN_SYSTEM]}
    with pytest.raises(ValueError, match="'a b' and 'a-b' have the same key 'a_b'"):
        run_experiment(replace(tiny, systems=systems), tracker())
    assert not (tiny.folder / "heads.json").exists()
    assert not (tiny.folder / "wandb").exists()
