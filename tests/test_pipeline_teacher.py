"""The pipeline with soft labels: heads are selected and aligned on the scores of a run."""

from dataclasses import replace

import pytest

from headrank.alignment import MarginMSE, PairSettings, TeacherKL, WeightedLosses
from headrank.experiment import MAIN_SYSTEM
from headrank.heads import HeadsFile
from headrank.io.epoch_log import read_epoch_log
from headrank.pipeline import run_experiment
from headrank.settings import SettingsError
from headrank.stages.align import align_key
from headrank.stages.keys import experiment_key, heads_key
from headrank.stages.lists import DataLoader
from tests.pipelines import ALIGNMENT

SCORES = {"q1": [2.0, 9.0, 4.0], "q2": [1.0, 0.5], "q4": [1.0]}  # of the passages of the first stage's run
RUN = {"q1": ["d2", "d1", "d4"], "q2": ["d4", "d3"], "q4": ["d1"]}


@pytest.fixture
def teacher(tmp_path):
    """A run of a teacher, and the same at another path."""
    lines = [f"{q} Q0 {d} 1 {s} t\n" for q in SCORES for d, s in zip(RUN[q], SCORES[q], strict=True)]
    for name in ("teacher.trec", "copy.trec"):
        (tmp_path / name).write_text("".join(lines))
    return tmp_path / "teacher.trec"


@pytest.fixture
def taught(experiment, make_folder, teacher):
    """The experiment on a training set without judgements."""
    folder = make_folder("unjudged", qrels__txt=None)
    source = replace(experiment.train[0], collection=str(folder), labels=f"run:{teacher}")
    return replace(experiment, train=(source,), alignment=ALIGNMENT)


def test_heads_are_selected_and_aligned_on_the_scores_of_a_run(taught):
    outcome = run_experiment(taught)
    assert list(HeadsFile.load(taught.folder / "heads.json").query_ids) == ["q1", "q2"]
    assert len(HeadsFile.load(taught.folder / "checkpoint/heads.json").query_ids) == 1
    assert f"train: {taught.train[0].labels}" in outcome.report.read_text()


def test_keys_hold_the_content_of_the_run_and_not_its_path(taught, teacher):
    data = DataLoader(taught.cache)
    run_experiment(replace(taught, alignment=None))
    heads = HeadsFile.load(taught.folder / "heads.json")

    def keys(**changes):
        other = replace(taught, train=(replace(taught.train[0], **changes),))
        train = data.labelled(other.train)
        return heads_key(other, other.systems[MAIN_SYSTEM], train), align_key(other, heads, data)

    copied = teacher.with_name("copy.trec")
    assert keys() == keys(labels=f"run:{copied}")
    (one, two), (other, another) = keys(), keys(teacher_levels=3)
    assert one != other
    assert two != another
    finished = experiment_key(taught)
    copied.write_text(teacher.read_text().replace(" 2.0 t", " 2.5 t"))
    data = DataLoader(taught.cache)
    assert keys()[0] != keys(labels=f"run:{copied}")[0]
    teacher.write_text(copied.read_text() + "\n")
    assert experiment_key(taught) != finished


def test_benchmarks_have_no_soft_labels(experiment, teacher):
    with pytest.raises(SettingsError, match=r"benchmarks\.one\.labels"):
        replace(experiment, benchmarks=(replace(experiment.benchmarks[0], labels=f"run:{teacher}"),))


def test_losses_of_the_scores_need_a_teacher_and_train_on_it(taught, experiment):
    losses = WeightedLosses({"teacher_kl": (1.0, TeacherKL()), "margin_mse": (0.5, MarginMSE())})
    settings = replace(ALIGNMENT, losses=losses, pairs=PairSettings(levels="teacher_margins"), epochs=1)
    run_experiment(replace(taught, alignment=settings))
    (row,) = read_epoch_log(taught.folder / "training/epochs.csv")
    assert row["train/loss"] == pytest.approx(row["train/teacher_kl"] + 0.5 * row["train/margin_mse"])
    assert row["train/margin_mse"] > 0
    with pytest.raises(SettingsError, match=r"loss .*teacher_kl"):
        replace(experiment, alignment=settings)
