"""The pipeline with alignment: trained, exported, compared, taken up after a kill."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from headrank.alignment import OptimizerSettings, TrainedSettings
from headrank.alignment.settings import TrainerSettings
from headrank.data import read_run
from headrank.errors import ConfigError
from headrank.evaluation.examples import read_examples
from headrank.experiment import (
    FIRST_STAGE_SYSTEM,
    MAIN_SYSTEM,
    UNALIGNED_SYSTEM,
)
from headrank.heads import GivenHeads, HeadsFile
from headrank.pipeline import run_experiment
from headrank.reranker import Reranker
from headrank.stages.align import align_key
from headrank.stages.lists import DataLoader
from tests.pipelines import ALIGNMENT, no_model


def test_alignment_trains_exports_and_is_compared_with_what_it_started_from(experiment, monkeypatch):
    # With threshold 2 the held-out list has a relevant and an irrelevant passage, for the probability.
    experiment = replace(experiment, train=(replace(experiment.train[0], relevance_threshold=2),))
    plain = run_experiment(experiment)
    aligned = replace(experiment, folder=experiment.folder.with_name("aligned"), alignment=ALIGNMENT)
    outcome = run_experiment(aligned)
    folder = aligned.folder
    before, after = plain.results[0].systems, outcome.results[0].systems
    assert list(after) == [FIRST_STAGE_SYSTEM, MAIN_SYSTEM, UNALIGNED_SYSTEM, "random", "icr"]
    assert after[UNALIGNED_SYSTEM] == before[MAIN_SYSTEM], "the start model's own heads, unchanged"
    # What was exported is what reranked, and what a user opens.
    reranker = Reranker.from_pretrained(folder / "checkpoint")
    run, start = read_run(folder / "runs/headrank/one.trec"), read_run(folder / "runs/zero-shot/one.trec")
    assert {q: r.scores for q, r in run.items()} != {q: r.scores for q, r in start.items()}, "training moved the scores"
    item = DataLoader(aligned.cache).load(aligned.benchmarks[0]).candidates.lists[0]
    ranked = reranker.rank(item.query.text, {p.id: p.text for p in item.passages})
    assert [result.score for result in ranked] == pytest.approx(run[item.query.id].scores, abs=1e-5)
    rows = (folder / "training/epochs.csv").read_text().splitlines()
    assert len(rows) == 3
    assert {"epoch", "train/loss", "val/ndcg@10"} <= set(rows[0].split(","))
    tables = [HeadsFile.load(folder / name).table for name in ("heads.json", "checkpoint/heads.json")]
    assert tables[0].keys() == tables[1].keys()
    assert tables[0]["entropy"] != tables[1]["entropy"], "heads are measured again with the trained weights"
    assert reranker.heads.probability is not None
    assert reranker.heads.probability.thresholds == {"train": 2}
    assert reranker.heads.probability.lists == ALIGNMENT.validation_queries
    assert {"training.svg", "heads.svg", "head_curves.svg"} <= {path.name for path in (folder / "figures").iterdir()}
    report = (folder / "report.html").read_text()
    assert "zero-shot → headrank" in report
    # The examples are explained before and after alignment; the explained scores are those of the runs.
    examples = [one for name in ("one", "two") for one in read_examples(folder / f"examples/{name}.json")]
    assert examples
    assert {ranking.system for one in examples for ranking in one.rankings} == {UNALIGNED_SYSTEM, MAIN_SYSTEM}
    for one in read_examples(folder / "examples/one.json"):
        for ranking, of_run in zip(one.rankings, (start, run), strict=True):
            scores = {result.id: result.score for result in of_run[one.query_id].results}
            assert {p.id: p.score for p in ranking.explanation.passages} == pytest.approx(scores, abs=1e-5)
    assert report.count('class="headrank-explanation"') == 2 * len(examples)
    # Nothing is trained or read twice; another seed is trained anew.
    written = (folder / "checkpoint/model.safetensors").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        no_model(patch)
        assert run_experiment(aligned).results == outcome.results
    # Neither half of an artifact passes for the whole.
    (folder / "checkpoint/model.safetensors").unlink()
    (folder / "runs/random/one.contexts.json").unlink()
    assert run_experiment(aligned).results == outcome.results
    written = (folder / "checkpoint/model.safetensors").stat().st_mtime_ns
    run_experiment(replace(aligned, alignment=replace(ALIGNMENT, seed=1)))
    assert (folder / "checkpoint/model.safetensors").stat().st_mtime_ns != written


def test_two_training_sets_with_equal_query_ids(experiment, make_folder):
    """Heads are chosen and aligned on both; the queries carry the names of their sets, and each its threshold."""
    (first,) = experiment.train
    texts = {query_id: f"another {query_id}" for query_id in ("q1", "q2", "q3")}
    folder = str(make_folder("second", queries=texts))
    second = replace(first, name="second", collection=folder, relevance_threshold=2, lists_per_epoch=3)
    both = replace(experiment, train=(first, second), alignment=ALIGNMENT)
    run_experiment(both)
    lists = DataLoader(both.cache).labelled(both.train).lists
    assert {one.item.query.id.split(":")[0]: one.relevance_threshold for one in lists} == {"train": 1, "second": 2}
    usable = [one.item.query.id for one in lists if one.has_pairs]
    assert list(HeadsFile.load(both.folder / "heads.json").query_ids) == usable
    aligned = HeadsFile.load(both.folder / "checkpoint/heads.json").query_ids
    assert set(aligned) < set(usable)
    assert "2 epochs, 3 lists of second per epoch" in (both.folder / "report.md").read_text()
    assert len(aligned) == len(usable) - ALIGNMENT.validation_queries


def test_one_query_in_two_training_sets_is_refused_before_a_model_is_loaded(experiment, make_folder, monkeypatch):
    no_model(monkeypatch)
    (first,) = experiment.train
    again = replace(first, name="again", collection=str(make_folder("again")))
    for alignment in (None, ALIGNMENT):
        with pytest.raises(ConfigError, match=r"query 'q1' .*train.*again"):
            run_experiment(replace(experiment, train=(first, again), alignment=alignment))


@pytest.mark.parametrize("average_decay", [0.0, 0.5])
def test_a_killed_alignment_goes_on_and_ends_the_same(experiment, monkeypatch, average_decay):
    aligned = replace(experiment, alignment=replace(ALIGNMENT, epochs=3, average_decay=average_decay))
    other = {"folder": experiment.folder.with_name("undisturbed"), "cache": experiment.cache.with_name("other_cache")}
    undisturbed = run_experiment(replace(aligned, **other))
    from headrank.alignment.training import EpochCsvWriter

    write = EpochCsvWriter.on_train_epoch_end

    cudnn = torch.backends.cuda.cudnn_sdp_enabled

    def stop_after_two(self, trainer, module):
        assert not cudnn(), "its gradients are not to be trusted"
        write(self, trainer, module)
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EpochCsvWriter, "on_train_epoch_end", stop_after_two)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run_experiment(aligned)
    assert cudnn(), "everything else computes with what PyTorch likes best"
    best, last = (
        torch.load(experiment.folder / f"training/{name}.ckpt", weights_only=True) for name in ("best", "last")
    )
    assert "optimizer_states" in last
    assert "optimizer_states" not in best, "only exported: two thirds of its size"
    assert not (experiment.folder / "checkpoint/model.safetensors").exists()
    assert (experiment.folder / "training/last.ckpt").is_file()
    assert run_experiment(aligned).results == undisturbed.results
    assert not list((experiment.folder / "training").glob("*.ckpt"))  # the trainer's, several times the model's size
    assert run_experiment(aligned).results == undisturbed.results


def test_candidates_to_draw_from_are_read_before_any_work(experiment, monkeypatch):
    load, depths = DataLoader.load, set()
    monkeypatch.setattr(DataLoader, "load", lambda self, one: depths.add((one.name, one.depth)) or load(self, one))
    no_model(monkeypatch)
    for changes, deepest in (
        ({"draw_depth": 4}, 4),
        ({"draw_depth": 0}, 3),
        ({"draw_depth": 4, "draw_candidates": 0}, 3),
    ):
        depths.clear()
        with pytest.raises(AssertionError, match="a model was loaded"):
            run_experiment(replace(experiment, alignment=replace(ALIGNMENT, **changes)))
        assert max(depth for name, depth in depths if name == "train") == deepest


def test_an_alignment_is_out_of_date_where_the_lists_own_depth_or_what_is_drawn_from_changes(experiment):
    given = replace(experiment.systems[MAIN_SYSTEM], criterion=GivenHeads(heads=[[0, 0], [1, 1]]), heads=None)
    aligned = replace(experiment, systems={MAIN_SYSTEM: given}, alignment=replace(ALIGNMENT, epochs=1))
    run_experiment(aligned)
    heads, data = HeadsFile.load(aligned.folder / "heads.json"), DataLoader(aligned.cache)

    def key(depth, **changes):
        train = (replace(aligned.train[0], depth=depth),)
        return align_key(replace(aligned, train=train, alignment=replace(ALIGNMENT, **changes)), heads, data)

    assert key(2) != key(3), "what is held out, though what is drawn from is the same"
    assert key(2, draw_depth=2) != key(2, draw_depth=3)
    assert key(2, draw_depth=1) == key(2, draw_depth=2) == key(2, draw_depth=0)
    assert key(2, draw_candidates=0, draw_depth=3) == key(2, draw_candidates=0, draw_depth=0)


def test_matrices_of_a_half_precision_model_are_trained_in_float32(experiment):
    """Of given heads: those that half and full precision select can differ."""
    settings = replace(ALIGNMENT, trained=TrainedSettings("full"), optimizer=OptimizerSettings(lr=1e-3), epochs=1)
    main = replace(experiment.systems[MAIN_SYSTEM], criterion=GivenHeads([[0, 1], [2, 3]]), heads=None)
    experiment = replace(experiment, systems={MAIN_SYSTEM: main})
    weights = {}
    for dtype in ("bfloat16", "float32"):
        model, folder = replace(experiment.model, dtype=dtype), experiment.folder.with_name(dtype)
        run_experiment(replace(experiment, model=model, folder=folder, alignment=settings))
        weights[dtype] = load_file(folder / "checkpoint/model.safetensors")
        assert {str(weight.dtype) for weight in weights[dtype].values()} == {f"torch.{dtype}"}
    for name, weight in weights["float32"].items():
        assert torch.equal(weights["bfloat16"][name], weight.bfloat16()), name  # rounded once, at the end


SHARDED = TrainerSettings(accelerator="cpu", devices=2, strategy="fsdp")


def test_settings_of_an_alignment_that_cannot_be():
    for change, said in (
        ({"trained": {"part": "heads"}}, "trained"),
        ({"temperature": 0.0}, "temperature"),
        ({"query_fraction": 0.0}, "query_fraction"),
        ({"reselect_seeds": ()}, "reselect_seeds"),
        ({"epochs": 0}, "epochs"),
        ({"draw_depth": -1}, "draw_depth"),
        ({"lists_per_step": 3, "lists_per_batch": 2}, "multiple"),
        ({"patience": 2, "validation_queries": 0}, "patience"),
        ({"relevant_in_zone": 0.5, "shuffle_candidates": False}, "relevant_in_zone"),
        ({"average_decay": 1.0}, "average_decay"),
        ({"average_decay": 0.5, "lists_per_step": 2, "trainer": SHARDED}, "average_decay"),
    ):
        with pytest.raises(ValueError, match=said):
            replace(ALIGNMENT, **change)


def test_the_objective_can_be_the_best_validation(experiment):
    aligned = replace(experiment, alignment=ALIGNMENT, objective_from="validation")
    outcome = run_experiment(aligned)
    header, *rows = (line.split(",") for line in (experiment.folder / "training/epochs.csv").read_text().splitlines())
    values = [float(row[header.index("val/ndcg@10")]) for row in rows]
    assert len(values) == ALIGNMENT.epochs
    assert outcome.objective == max(values)
    (experiment.folder / "training/epochs.csv").unlink()
    with pytest.raises(ValueError, match="align again"):
        run_experiment(aligned)
