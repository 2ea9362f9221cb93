"""The pipeline on a tiny random Qwen3 and a folder of five passages: artifacts, resume, failures."""

import json
import os
import signal
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

import headrank.alignment.fit as fit_module
import headrank.stages.rerank as rerank_module
import headrank.stages.select as select_module
from headrank.alignment import GradedKL, Preference, WeightedLosses
from headrank.alignment.settings import AlignmentSettings, TrainerSettings
from headrank.data import read_run
from headrank.evaluation import ReportSettings
from headrank.experiment import (
    FIRST_STAGE_SYSTEM,
    MAIN_SYSTEM,
    UNALIGNED_SYSTEM,
    DataSettings,
    Experiment,
    SelectionSettings,
    SystemSettings,
)
from headrank.heads import AllHeads, EntropyRegularized, HeadsFile, RandomHeads
from headrank.model import BackboneSettings, PromptSettings, Scorer, ScorerSettings, StateSettings, load_backbone
from headrank.pipeline import finished_objective, run_experiment
from headrank.reranker import Reranker
from headrank.run import release
from headrank.stages.lists import DataLoader

ROOT = Path(__file__).parents[1]
ALIGNMENT = AlignmentSettings(
    WeightedLosses({"preference": (1.0, Preference()), "graded_kl": (0.5, GradedKL())}),
    rank=2,
    lr=0.05,
    epochs=2,
    lists_per_step=1,
    validation_queries=1,
    trainer=TrainerSettings(accelerator="cpu", progress_bar=False),
)


@pytest.fixture
def experiment(make_folder, model_folder, tmp_path) -> Experiment:
    folder = make_folder()
    data = {"collection": str(folder), "first_stage": "run", "depth": 3}
    return Experiment(
        name="test",
        folder=tmp_path / "run",
        cache=tmp_path / "cache",
        model=BackboneSettings(model=str(model_folder)),
        train=(DataSettings(name="train", **data),),
        benchmarks=(DataSettings(name="one", **data), DataSettings(name="two", **data, max_queries=2)),
        systems={
            MAIN_SYSTEM: SystemSettings(EntropyRegularized(), heads=3),
            "random": SystemSettings(RandomHeads(), heads=2, scorer=ScorerSettings(order="shuffled")),
            "icr": SystemSettings(
                AllHeads(), scorer=ScorerSettings(query_rows="suffix", power=0.0, token_filter=True, order="reversed")
            ),
        },
        selection=SelectionSettings(seeds=(0, 1)),
        metrics=("ndcg@10", "judged@10"),
        config_yaml="name: test\n",
    )


def files(folder: Path) -> dict[str, int]:
    """Every artifact with its time of change; `status.json`, the report and facts are written by every run."""
    kinds = ("runs/", "metrics/", "heads")
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.stat().st_mtime_ns for name, path in found.items() if name.startswith(kinds)}


def no_model(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(fit_module, "load_backbone", refuse)
    monkeypatch.setattr(rerank_module, "load_backbone", refuse)
    monkeypatch.setattr(select_module, "load_backbone", refuse)


def test_everything_is_written_and_agrees(experiment):
    outcome = run_experiment(experiment)
    folder = experiment.folder
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "finished"
    assert status["objective"] == outcome.objective
    assert {r.name for r in outcome.results} == {"one", "two"}
    assert list(outcome.results[0].systems) == [FIRST_STAGE_SYSTEM, MAIN_SYSTEM, "random", "icr"]
    main = outcome.results[0].systems[MAIN_SYSTEM]
    assert outcome.objective == pytest.approx(
        sum(r.systems[MAIN_SYSTEM].means["ndcg@10"] for r in outcome.results) / 2, abs=1e-12
    )
    assert 0 < main.means["ndcg@10"] <= 1
    # The run is what the scorer gives for the heads in heads.json.
    heads = HeadsFile.load(folder / "heads.json")
    assert len(heads.heads) == 3
    lists = DataLoader(experiment.cache).load(experiment.benchmarks[0]).candidates.lists
    scorer = Scorer(load_backbone(experiment.model, depth=heads.depth), heads.heads, settings=heads.scorer)
    run = read_run(folder / "runs/headrank/one.trec")
    assert set(run) == {"q1", "q2", "q3"}
    for scored in scorer.score(lists):
        assert run[scored.ranking.query_id].passage_ids == scored.ranking.passage_ids
        assert run[scored.ranking.query_id].scores == pytest.approx(scored.ranking.scores, rel=1e-6)
    assert set(read_run(folder / "runs/headrank/two.trec")) < set(run)
    curves = json.loads((folder / "head_curves.json").read_text())
    assert curves["used"] == {"heads": 3, "depth": heads.depth}
    assert curves["lists"] == len(heads.query_ids)
    assert (folder / "figures/head_curves.svg").is_file()
    report = (folder / "report.html").read_text()
    assert f"{main.means['ndcg@10']:.4f}".lstrip("0") in report
    assert (folder / "config.yaml").read_text() == "name: test\n"
    # The Python interface opens what was selected and ranks alike.
    reranker = Reranker.from_pretrained(experiment.model.model, heads=folder / "heads.json")
    first = lists[0]
    ranked = reranker.rank(first.query.text, {p.id: p.text for p in first.passages})
    assert tuple(result.id for result in ranked) == run[first.query.id].passage_ids


def test_a_second_run_loads_no_model_and_writes_no_artifact(experiment, monkeypatch):
    first = run_experiment(experiment)
    before = files(experiment.folder)
    assert len(before) >= 3 + 3 * 4
    no_model(monkeypatch)
    again = run_experiment(experiment)
    assert files(experiment.folder) == before
    assert again.results == first.results


def test_a_benchmarks_own_instruction_is_read_there_alone(experiment):
    run_experiment(experiment)
    before = files(experiment.folder)
    scores = read_run(experiment.folder / "runs/headrank/two.trec")["q1"].scores
    main = replace(experiment.systems[MAIN_SYSTEM], instructions={"two": "Find what rhymes.", "elsewhere": "x"})
    run_experiment(replace(experiment, systems={**experiment.systems, MAIN_SYSTEM: main}))
    after = files(experiment.folder)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"runs/headrank/two.trec", "runs/headrank/two.contexts.json", "metrics/two.json"}
    heads = HeadsFile.load(experiment.folder / "heads.json")
    settings = replace(heads.prompt, instruction="Find what rhymes.")
    backbone = load_backbone(experiment.model, depth=heads.depth)
    scorer = Scorer(backbone, heads.heads, prompt=settings, settings=heads.scorer)
    lists = DataLoader(experiment.cache).load(experiment.benchmarks[1]).candidates.lists
    run = read_run(experiment.folder / "runs/headrank/two.trec")
    assert run["q1"].scores != scores
    for scored in scorer.score(lists):
        assert run[scored.ranking.query_id].scores == pytest.approx(scored.ranking.scores, rel=1e-6)


def test_words_about_the_data_change_no_artifact(experiment, monkeypatch):
    run_experiment(experiment)
    before = files(experiment.folder)
    no_model(monkeypatch)
    said = tuple(replace(one, notice="read this", licence="CC BY") for one in experiment.benchmarks)
    run_experiment(replace(experiment, benchmarks=said))
    assert files(experiment.folder) == before
    assert "read this" in (experiment.folder / "report.md").read_text()


def test_only_what_depends_on_a_change_is_made_again(experiment, monkeypatch):
    run_experiment(experiment)
    before = files(experiment.folder)
    # Another metric: metrics alone, without a model.
    with monkeypatch.context() as patch:
        no_model(patch)
        run_experiment(replace(experiment, metrics=("ndcg@10", "mrr@10")))
    after = files(experiment.folder)
    assert {name for name in before if before[name] != after[name]} == {"metrics/one.json", "metrics/two.json"}
    # Another number of heads of one system: its heads and runs, and the metrics; no list is read for selection again.
    random = replace(experiment.systems["random"], heads=4)
    changed = replace(experiment, systems={**experiment.systems, "random": random}, metrics=("ndcg@10", "mrr@10"))
    with monkeypatch.context() as patch:
        patch.setattr(select_module, "load_backbone", None)
        run_experiment(changed)
    last = files(experiment.folder)
    assert {name for name in after if after[name] != last[name]} == {
        "heads/random.json",
        "runs/random/one.trec", "runs/random/one.contexts.json",
        "runs/random/two.trec", "runs/random/two.contexts.json",
        "metrics/one.json", "metrics/two.json",
    }  # fmt: skip


def test_a_failure_is_recorded_and_the_next_run_goes_on(experiment, monkeypatch):
    undisturbed = run_experiment(replace(experiment, folder=experiment.folder.with_name("undisturbed")))
    write = rerank_module.write_run

    def fail_on_two(path, *rest, **options):
        if path.name == "two.trec":
            raise OSError("no space left on device")
        write(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(rerank_module, "write_run", fail_on_two)
        with pytest.raises(OSError, match="no space left"):
            run_experiment(experiment)
    status = json.loads((experiment.folder / "status.json").read_text())
    assert (status["state"], status["stage"]) == ("failed", "rerank")
    assert "fail_on_two" in status["traceback"]
    assert (experiment.folder / "traceback.txt").read_text() == status["traceback"]
    assert not (experiment.folder / "runs/headrank/two.trec").exists()
    done = files(experiment.folder)
    assert run_experiment(experiment).results == undisturbed.results
    assert not (experiment.folder / "traceback.txt").exists()
    after = files(experiment.folder)
    assert after["runs/headrank/one.trec"] == done["runs/headrank/one.trec"]
    assert after["heads.json"] == done["heads.json"]


@pytest.mark.parametrize("writes", [1, 4, 9])
def test_killed_at_any_write_it_ends_the_same(experiment, tmp_path, writes):
    """kill -9 right before the n-th artifact gets its name; the second start comes to the undisturbed numbers."""
    code = f"""
import os, pickle, signal, sys
import headrank.files as files
from headrank.pipeline import finished_objective, run_experiment
from headrank.run import release
count, replace = 0, os.replace
def kill(source, target):
    global count
    if any(part in str(target) for part in ("/runs/", "/heads", "/metrics/")):
        count += 1
        if count == {writes}:
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
files.os.replace = kill
run_experiment(pickle.load(open(sys.argv[1], "rb")))
"""
    import pickle

    path = tmp_path / "experiment.pickle"
    path.write_bytes(pickle.dumps(experiment))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, env=environment, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    undisturbed = run_experiment(replace(experiment, folder=tmp_path / "undisturbed"))
    assert run_experiment(experiment).results == undisturbed.results


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"collection": "./nowhere"}, "nowhere"),
        ({"collection": "beir/nfcorpis/test"}, "nfcorpus"),
        ({"first_stage": "scoreddocs"}, "scoreddocs"),
        ({"first_stage": "run", "run_path": "missing.trec"}, r"missing\.trec"),
    ],
)
def test_bad_data_is_told_before_any_model_is_loaded(experiment, monkeypatch, change, said):
    no_model(monkeypatch)
    bad = replace(experiment, benchmarks=(experiment.benchmarks[0], replace(experiment.benchmarks[1], **change)))
    with pytest.raises(Exception, match=said):
        run_experiment(bad)
    assert not (experiment.folder / "runs").exists()
    assert json.loads((experiment.folder / "status.json").read_text())["stage"] == "data"


def test_labelled_lists_of_one_grade_are_told(experiment, make_folder):
    flat = make_folder("flat", qrels={q: dict.fromkeys(("d1", "d2", "d3", "d4", "d5"), 1) for q in ("q1", "q2", "q3")})
    bad = replace(experiment, train=(replace(experiment.train[0], collection=str(flat)),))
    with pytest.raises(ValueError, match="different grades"):
        run_experiment(bad)
    assert not (experiment.folder / "heads.json").exists()


def test_an_experiment_checks_its_parts(experiment):
    for change, said in (
        ({"systems": {"random": experiment.systems["random"]}}, "headrank"),
        ({"systems": {**experiment.systems, "first stage": experiment.systems["random"]}}, "first stage"),
        ({"benchmarks": ()}, "at least one benchmark"),
        ({"benchmarks": (experiment.benchmarks[0],) * 2}, "must differ"),
        ({"objective": "map@100"}, "objective"),
        ({"alignment": replace(ALIGNMENT, part="full"), "model": BackboneSettings(dtype="bfloat16")}, "float32"),
        ({"train": ()}, "labelled"),
        ({"report": ReportSettings(baseline=UNALIGNED_SYSTEM)}, "report.baseline"),
        ({"objective_from": "test"}, "objective_from"),
        ({"objective_from": "validation"}, "validation_queries"),
        ({"train": experiment.train * 2}, "must differ"),
        ({"train": (), "systems": {MAIN_SYSTEM: experiment.systems["random"]}, "alignment": ALIGNMENT}, "alignment"),
    ):
        with pytest.raises(ValueError, match=said):
            replace(experiment, **change)


def test_alignment_trains_exports_and_is_compared_with_what_it_started_from(experiment, monkeypatch):
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
    assert {"training.svg", "heads.svg", "head_curves.svg"} <= {path.name for path in (folder / "figures").iterdir()}
    assert "zero-shot → headrank" in (folder / "report.html").read_text()
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


def test_a_killed_alignment_goes_on_and_ends_the_same(experiment, monkeypatch):
    aligned = replace(experiment, alignment=replace(ALIGNMENT, epochs=3))
    undisturbed = run_experiment(replace(aligned, folder=experiment.folder.with_name("undisturbed")))
    from headrank.alignment.fit import EpochRecord

    write = EpochRecord.on_train_epoch_end

    def stop_after_two(self, trainer, module):
        write(self, trainer, module)
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EpochRecord, "on_train_epoch_end", stop_after_two)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run_experiment(aligned)
    assert not (experiment.folder / "checkpoint/model.safetensors").exists()
    assert (experiment.folder / "training/last.ckpt").is_file()
    assert run_experiment(aligned).results == undisturbed.results


def test_settings_of_an_alignment_that_cannot_be():
    for change, said in (
        ({"part": "heads"}, "part"),
        ({"temperature": 0.0}, "temperature"),
        ({"query_fraction": 0.0}, "query_fraction"),
        ({"reselect_seeds": ()}, "reselect_seeds"),
        ({"epochs": 0}, "epochs"),
        ({"lists_per_step": 3, "lists_per_batch": 2}, "multiple"),
        ({"patience": 2, "validation_queries": 0}, "patience"),
    ):
        with pytest.raises(ValueError, match=said):
            replace(ALIGNMENT, **change)


def test_a_finished_run_is_known_until_something_it_depends_on_changes(experiment, make_folder):
    other = str(make_folder("other"))
    text = f"name: test\ncollection: {experiment.train[0].collection}\nother: {other}\npaths: {{output: {{}}}}\n"
    known = replace(experiment, config_yaml=text)
    assert finished_objective(known) is None
    outcome = run_experiment(known)
    assert finished_objective(known) == outcome.objective
    assert finished_objective(replace(known, config_yaml=text.replace("{}", "elsewhere"))) == outcome.objective
    assert finished_objective(replace(known, config_yaml=text.replace("test", "changed"))) is None
    assert finished_objective(replace(known, config_yaml="")) is None
    with (Path(other) / "qrels.txt").open("a") as file:
        file.write("q1 0 d5 0\n")
    assert finished_objective(known) is None, "a file that the configuration names has changed"
    run_experiment(known)
    assert finished_objective(known) is not None
    (experiment.folder / "metrics/two.json").unlink()
    assert finished_objective(known) is None


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


def test_a_failed_jobs_exception_does_not_hold_its_model():
    class Model:
        pass

    models = []

    def load_and_fail():
        model = Model()
        models.append(weakref.ref(model))
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    try:
        load_and_fail()
    except ValueError as error:
        kept = error
    assert models[0]() is not None
    release(kept)
    assert models[0]() is None
    assert kept.__traceback__ is not None, "it can still be printed"


def test_states_of_passages_are_kept_between_runs(experiment, tmp_path, monkeypatch):
    """The second run, with other queries' instruction, computes no passage; its states are those of the first."""
    prompt = PromptSettings(attention="blocks")
    system = SystemSettings(AllHeads(), prompt=prompt)
    first = replace(experiment, systems={MAIN_SYSTEM: system}, train=(), states=StateSettings(str(tmp_path / "states")))
    run_experiment(first)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "states").glob("*/*.safetensors")}
    assert kept
    plain = replace(first, folder=tmp_path / "plain", states=None)
    run_experiment(plain)
    without, with_states = (read_run(one.folder / "runs/headrank/one.trec") for one in (plain, first))
    assert without.keys() == with_states.keys()
    for query, ranking in without.items():
        assert ranking.passage_ids == with_states[query].passage_ids
        assert ranking.scores == pytest.approx(with_states[query].scores, abs=1e-5)
    worded = SystemSettings(AllHeads(), prompt=replace(prompt, instruction="Look."))
    run_experiment(replace(first, folder=tmp_path / "worded", systems={MAIN_SYSTEM: worded}))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "states").glob("*/*.safetensors")} == kept
    before = files(first.folder)
    run_experiment(replace(first, states=None))  # where states are kept is no part of a run
    assert files(first.folder) == before
    run_experiment(replace(first, states=StateSettings(str(tmp_path / "states"), dtype="int8")))
    assert files(first.folder) != before
    with pytest.raises(ValueError, match="no system's prompt is in blocks"):
        replace(experiment, states=first.states)


def test_how_lists_are_batched_makes_nothing_anew_but_heads(experiment):
    run_experiment(experiment)
    before = files(experiment.folder)
    main = replace(experiment.systems[MAIN_SYSTEM], scorer=ScorerSettings(batch_size=2, tokens_per_batch=500))
    run_experiment(replace(experiment, systems={**experiment.systems, MAIN_SYSTEM: main}))
    after = files(experiment.folder)
    assert {name for name in after if after[name] != before[name]} == {"heads.json"}
    assert HeadsFile.load(experiment.folder / "heads.json").scorer.tokens_per_batch == 500
