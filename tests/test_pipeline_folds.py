"""Alignment whose number of epochs is chosen by cross-validation: its folds, its choice, a kill within a fold."""

from dataclasses import replace

import pytest
from lightning.pytorch import Callback

from headrank.data.labelled import split, split_fold
from headrank.errors import ConfigError
from headrank.heads import HeadsFile
from headrank.io.epoch_log import read_epoch_log
from headrank.pipeline import run_experiment
from headrank.stages.folds import best_epochs, fold_curve, fold_log
from tests.alignment.steps import same, trained_values
from tests.alignment.toy import fit, toy_data, toy_list, toy_module
from tests.pipelines import ALIGNMENT, no_model
from tests.tiny import tiny_backbone

FOLDS = replace(ALIGNMENT, folds=3, validation_queries=0, epochs=3)


def ids(lists):
    return [one.item.query.id for one in lists]


def test_every_list_is_held_out_once_and_folds_differ_by_one():
    lists = [toy_list(number) for number in range(11)]
    parts = [split_fold(lists, fold=fold, folds=3, fraction=1.0, seed=4) for fold in range(3)]
    assert sorted(len(held_out) for _, held_out in parts) == [3, 4, 4]
    assert sorted(query_id for _, held_out in parts for query_id in ids(held_out)) == sorted(ids(lists))
    for training, held_out in parts:
        assert sorted(ids(training) + ids(held_out)) == sorted(ids(lists))
        assert ids(training) == [i for i in ids(lists) if i in ids(training)], "in the order given"
    other = split_fold(lists, fold=0, folds=3, fraction=1.0, seed=5)
    assert ids(other[1]) != ids(parts[0][1])
    used, _ = split(lists, validation=0, fraction=0.5, seed=4)
    training, held_out = split_fold(lists, fold=1, folds=2, fraction=0.5, seed=4)
    assert sorted(ids(training) + ids(held_out)) == sorted(ids(used))
    with pytest.raises(ConfigError, match="12"):
        split_fold(lists, fold=0, folds=12, fraction=1.0, seed=4)


def test_the_curve_is_the_mean_and_its_first_maximum_is_chosen(tmp_path):
    for fold, values in enumerate([(0.25, 0.75, 0.5), (0.5, 0.5, 0.75)]):
        path = tmp_path / fold_log(fold)
        path.parent.mkdir(parents=True)
        path.write_text("epoch,val/ndcg@10\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values)))
    assert fold_curve(tmp_path, 2) == [0.375, 0.625, 0.625]
    assert best_epochs(fold_curve(tmp_path, 2)) == 2
    with pytest.raises(ValueError, match="fold_3"):
        fold_curve(tmp_path, 3)
    (tmp_path / fold_log(1)).write_text("epoch,val/ndcg@10\n0,0.5\n")
    with pytest.raises(ValueError, match="fold_2"):
        fold_curve(tmp_path, 2)


def test_fewer_epochs_of_a_schedule_end_where_the_whole_was_then(tokenizer, tmp_path):
    class Ends(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            ends[trainer.current_epoch] = trained_values(pl_module)

    def train(epochs, **settings):
        module = toy_module(tiny_backbone("qwen3", tokenizer), **settings)
        fit(module, toy_data(tmp_path / "toy"), epochs, tmp_path, callbacks=[Ends()])
        return trained_values(module)

    ends = {}
    train(3)
    after_two = ends[1]
    assert same(train(2, schedule_epochs=3), after_two)
    assert not same(train(2), after_two)


def test_all_queries_are_trained_on_for_the_epochs_that_the_folds_choose(experiment, monkeypatch):
    # With threshold 2 every held-out list but one has relevant and irrelevant passages, for the probability.
    experiment = replace(experiment, train=(replace(experiment.train[0], relevance_threshold=2),))
    aligned = replace(experiment, alignment=FOLDS, objective_from="validation")
    outcome = run_experiment(aligned)
    folder = aligned.folder
    curve = fold_curve(folder, 3)
    assert len(curve) == FOLDS.epochs
    values = [[row["val/ndcg@10"] for row in read_epoch_log(folder / fold_log(fold))] for fold in range(3)]
    assert curve == pytest.approx([sum(of_epoch) / 3 for of_epoch in zip(*values, strict=True)])
    rows = read_epoch_log(folder / "training/epochs.csv")
    assert len(rows) == best_epochs(curve)
    assert all("val/ndcg@10" not in row for row in rows)
    heads = HeadsFile.load(folder / "checkpoint/heads.json")
    assert sorted(heads.query_ids) == ["q1", "q2", "q3"], "heads are reselected on all lists, so all were trained on"
    assert heads.probability is not None
    assert heads.probability.lists == 3
    assert outcome.objective == max(curve)
    assert not list((folder / "training").rglob("*.ckpt"))
    assert ", ".join(f"{value:.4f}" for value in curve) in (folder / "report.md").read_text()
    with monkeypatch.context() as patch:
        no_model(patch)
        assert run_experiment(aligned) == outcome


def test_a_kill_within_a_fold_or_the_last_training_changes_nothing(experiment, monkeypatch):
    from headrank.alignment.training import EpochCsvWriter

    write, seen = EpochCsvWriter.on_train_epoch_end, []
    aligned = replace(experiment, alignment=replace(FOLDS, average_decay=0.5))
    other = {"folder": experiment.folder.with_name("undisturbed"), "cache": experiment.cache.with_name("other_cache")}
    undisturbed = run_experiment(replace(aligned, **other))

    def stop_at(name, epoch):
        def stop(self, trainer, module):
            write(self, trainer, module)
            seen.append((self.path.parent.name, trainer.current_epoch))
            if seen[-1] == (name, epoch):
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(EpochCsvWriter, "on_train_epoch_end", stop)
            with pytest.raises((KeyboardInterrupt, SystemExit)):
                run_experiment(aligned)

    stop_at("fold_2", 1)
    stop_at("training", 0)
    assert seen == [
        *(("fold_1", epoch) for epoch in range(3)),
        *(("fold_2", epoch) for epoch in (0, 1, 1, 2)),  # the second epoch was not complete
        *(("fold_3", epoch) for epoch in range(3)),
        ("training", 0),
    ]
    assert run_experiment(aligned).results == undisturbed.results
    for name in ("training/epochs.csv", *map(fold_log, range(3))):
        assert (aligned.folder / name).read_bytes() == (other["folder"] / name).read_bytes()
    for name in ("model.safetensors", "heads.json"):
        ends = [folder / "checkpoint" / name for folder in (aligned.folder, other["folder"])]
        assert ends[0].read_bytes() == ends[1].read_bytes()


def test_more_folds_than_lists_are_refused_before_a_model_is_loaded(experiment, monkeypatch):
    no_model(monkeypatch)
    with pytest.raises(ConfigError, match=r"alignment\.folds is 4"):
        run_experiment(replace(experiment, alignment=replace(FOLDS, folds=4)))


@pytest.mark.parametrize(
    ("change", "key"),
    [({"folds": 1}, "folds"), ({"validation_queries": 2}, "validation_queries"), ({"patience": 1}, "patience")],
)
def test_settings_that_contradict_folds(change, key):
    with pytest.raises(ConfigError, match=key):
        replace(FOLDS, **change)
