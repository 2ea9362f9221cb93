"""The pipeline with soft labels: heads are selected and aligned on the scores of a run."""

from dataclasses import replace

import pytest
import torch

from headrank.alignment import MarginMSE, PairSettings, Preference, TeacherKL, WeightedLosses
from headrank.baselines import CrossEncoderReranker, Reranked
from headrank.data import read_run
from headrank.experiment import MAIN_SYSTEM, OrderTeacher, SystemSettings
from headrank.heads import GivenHeads, HeadsFile
from headrank.io.epoch_log import read_epoch_log
from headrank.pipeline import run_experiment
from headrank.ranking import Ranking
from headrank.settings import SettingsError
from headrank.stages.align import align_key
from headrank.stages.keys import experiment_key, heads_key
from headrank.stages.lists import DataLoader
from headrank.stages.rerank import RerankStage
from tests.pipelines import ALIGNMENT, no_model

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


@pytest.fixture
def distilled(experiment):
    """The experiment with its own start heads as the teacher of judged lists."""
    losses = WeightedLosses({"preference": (1.0, Preference()), "teacher_kl": (0.5, TeacherKL())})
    return replace(
        experiment,
        train=(replace(experiment.train[0], labels="judged+teacher"),),
        teacher={"orders": OrderTeacher(shuffles=3)},
        alignment=replace(ALIGNMENT, losses=losses, epochs=1),
    )


def test_the_start_heads_teach_over_orders_and_their_run_is_made_once(distilled, monkeypatch):
    outcome = run_experiment(distilled)
    run = distilled.folder / "runs/teacher/train.trec"
    assert read_run(run).keys() == {"q1", "q2", "q3"}
    (row,) = read_epoch_log(distilled.folder / "training/epochs.csv")
    assert row["train/teacher_kl"] > 0
    assert "train: judged+teacher (orders)" in outcome.report.read_text()
    judged = DataLoader(distilled.cache).labelled((replace(distilled.train[0], labels=None),))
    heads = HeadsFile.load(distilled.folder / "heads.json")
    assert list(heads.query_ids) == [one.item.query.id for one in judged.lists if one.has_pairs]
    # In another folder it is copied from the cache, and the same model comes out.
    again = replace(distilled, folder=distilled.folder.with_name("again"))
    with monkeypatch.context() as patch:
        patch.setattr(RerankStage, "_rerank", refuse_teacher(RerankStage._rerank))
        run_experiment(again)
    assert (again.folder / "runs/teacher/train.trec").read_bytes() == run.read_bytes()
    models = [(one.folder / "checkpoint/model.safetensors").read_bytes() for one in (distilled, again)]
    assert models[0] == models[1]
    with monkeypatch.context() as patch:  # nothing is done twice in the same folder
        no_model(patch)
        run_experiment(distilled)


def refuse_teacher(rerank):
    def refused(self, system, *rest):
        assert system != "teacher"
        return rerank(self, system, *rest)

    return refused


def test_given_heads_teach_a_collection_without_judgements(taught, distilled):
    unjudged = replace(taught.train[0], labels="teacher")
    systems = {**taught.systems, MAIN_SYSTEM: SystemSettings(GivenHeads(((1, 0), (1, 2))))}
    with pytest.raises(SettingsError, match="teacher is 'orders'"):
        replace(distilled, train=(unjudged,))
    run_experiment(replace(distilled, train=(unjudged,), systems=systems))
    assert read_run(distilled.folder / "runs/teacher/train.trec").keys() == {"q1", "q2", "q3", "q4"}
    assert len(HeadsFile.load(distilled.folder / "checkpoint/heads.json").query_ids) == 2


def test_a_reranker_teaches_before_heads_are_selected(taught, monkeypatch):
    class Lengths(CrossEncoderReranker):
        def check_model(self, backbone):
            pass

        def load(self, backbone):
            return self

        device = torch.device("cpu")

        def rerank(self, lists, on_list=None):
            scores = [[float(len(p.text)) for p in item.passages] for item in lists]
            found = zip(lists, scores, strict=True)
            return Reranked(tuple(Ranking.from_scores(one.query.id, one.passage_ids, s) for one, s in found))

    source = replace(taught.train[0], labels="teacher")
    teaching = replace(taught, train=(source,), teacher={"lengths": Lengths(taught.model)}, alignment=None)
    run_experiment(teaching)
    assert list(HeadsFile.load(teaching.folder / "heads.json").query_ids) == ["q1", "q2", "q3"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"teacher": {}}, r"data\.train\.labels is 'judged\+teacher'"),
        ({"teacher": {"a": OrderTeacher(), "b": OrderTeacher()}}, "teacher is .*'a', 'b'"),
        ({"train": ()}, "teacher is 'orders'"),
        ({"alignment": None}, "teacher is 'orders'"),
    ],
)
def test_teachers_that_nothing_uses_or_makes_are_refused(distilled, changes, named):
    with pytest.raises(SettingsError, match=named):
        replace(distilled, **changes)


def test_the_teachers_model_is_found_like_a_baselines(distilled, experiment):
    assert distilled.keyed_rerankers == ()
    settings = CrossEncoderReranker(experiment.model)
    both = replace(distilled, teacher={"cross_encoder": settings}, rerankers={"cross_encoder": settings})
    assert both.keyed_rerankers == (("baselines.cross_encoder", settings), ("teacher.cross_encoder", settings))
    assert (distilled.teacher_needs_heads, both.teacher_needs_heads) == (True, False)
    with pytest.raises(SettingsError, match="systems is 'teacher'"):
        replace(distilled, rerankers={"teacher": settings})
