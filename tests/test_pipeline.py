"""The pipeline: artifacts, failures, what each stage reads."""

import json
import weakref
from dataclasses import replace

import pytest

import headrank.stages.rerank as rerank_module
from headrank.data import read_run
from headrank.errors import ConfigError
from headrank.evaluation import ReportSettings
from headrank.experiment import (
    FIRST_STAGE_SYSTEM,
    MAIN_SYSTEM,
    UNALIGNED_SYSTEM,
    SystemSettings,
)
from headrank.heads import AllHeads, Contrastive, HeadsFile, QueryFocused
from headrank.model import PromptSettings, Scorer, StateSettings, load_backbone, load_tokenizer
from headrank.pipeline import run_experiment
from headrank.reranker import Reranker
from headrank.run import release
from headrank.stages.lists import DataLoader
from tests.pipelines import ALIGNMENT, files, no_model


def test_queries_without_candidates_count_0_and_are_in_the_facts(experiment, make_folder):
    collection = str(make_folder("sparse", run={"q2": ["d3", "d4"]}))
    sparse = replace(experiment.benchmarks[0], name="sparse", collection=collection)
    (result,) = run_experiment(replace(experiment, benchmarks=(sparse,))).results
    found = result.systems[MAIN_SYSTEM]
    assert result.query_ids == ("q1", "q2", "q3")
    values = found.per_query["ndcg@10"]
    assert (values[0], values[2]) == (0, 0)
    assert found.means["ndcg@10"] == pytest.approx(values[1] / 3)
    assert "sparse: 2 of 3 queries" in (experiment.folder / "report.md").read_text()


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
    probability = heads.probability
    assert probability is not None
    assert (probability.thresholds, probability.lists) == ({"train": 1}, len(heads.query_ids))
    assert HeadsFile.load(folder / "heads/random.json").probability is None  # no labelled list was read
    assert main.probability is not None
    assert main.probability.origin == probability.origin
    predicted = [p for ranking in run.values() for p in probability(ranking.scores)]
    assert main.probability.predicted == pytest.approx(sum(predicted) / len(predicted))
    assert outcome.results[0].systems["random"].probability is None
    assert (folder / "tables/probabilities.csv").is_file()
    assert (folder / "figures/reliability.svg").is_file()
    # The Python interface opens what was selected and ranks alike.
    reranker = Reranker.from_pretrained(experiment.model.model, heads=folder / "heads.json")
    first = lists[0]
    ranked = reranker.rank(first.query.text, {p.id: p.text for p in first.passages})
    assert tuple(result.id for result in ranked) == run[first.query.id].passage_ids


def test_cut_texts_are_counted_for_every_system_and_in_selection(experiment, caplog):
    """q3 has the short passage d5 and d1; every other passage has more than 6 words of a few letters each."""
    short = PromptSettings(max_passage_tokens=30, max_query_tokens=20)
    systems = {name: replace(system, prompt=short) for name, system in experiment.systems.items()}
    caplog.set_level("INFO")
    run_experiment(replace(experiment, systems=systems))
    facts = json.loads((experiment.folder / "facts.json").read_text())
    lists = DataLoader(experiment.cache).load(experiment.benchmarks[0]).candidates.lists
    tokenizer = load_tokenizer(experiment.model)

    def longer(text, limit):
        return len(tokenizer(f" {text}", add_special_tokens=False)["input_ids"]) > limit

    cut = [[longer(passage.text, 30) for passage in item.passages] for item in lists]
    expected = {
        "passages": sum(map(len, lists)),
        "cut_passages": sum(map(sum, cut)),
        "cut_lists": sum(map(any, cut)),
        "cut_queries": sum(longer(item.query.text, 20) for item in lists),
    }
    assert 0 < expected["cut_passages"] < expected["passages"]
    assert expected["cut_queries"] > 0
    for system in systems:
        assert {name: facts[f"{system}/one"][name] for name in expected} == expected
    said = "{cut_passages} of {passages} passages in {cut_lists} of {lists} lists".format(**expected, lists=len(lists))
    assert f"cut, random on one: {said}" in (experiment.folder / "report.md").read_text()
    assert sum("labelled lists: cut" in record.getMessage() for record in caplog.records) == 1


def test_a_benchmarks_own_instruction_is_read_there_alone(experiment):
    run_experiment(experiment)
    before = files(experiment.folder)
    scores = read_run(experiment.folder / "runs/headrank/two.trec")["q1"].scores
    main = replace(experiment.systems[MAIN_SYSTEM], instructions={"two": "Find what rhymes.", "elsewhere": "x"})
    run_experiment(replace(experiment, systems={**experiment.systems, MAIN_SYSTEM: main}))
    after = files(experiment.folder)
    changed = {name for name in before if before[name] != after[name]}
    runs = {"runs/headrank/two.trec", "runs/headrank/two.contexts.json"}
    assert changed == {*runs, "metrics/two.json", "examples/two.json"}
    heads = HeadsFile.load(experiment.folder / "heads.json")
    settings = replace(heads.prompt, instruction="Find what rhymes.")
    backbone = load_backbone(experiment.model, depth=heads.depth)
    scorer = Scorer(backbone, heads.heads, prompt=settings, settings=heads.scorer)
    lists = DataLoader(experiment.cache).load(experiment.benchmarks[1]).candidates.lists
    run = read_run(experiment.folder / "runs/headrank/two.trec")
    assert run["q1"].scores != scores
    for scored in scorer.score(lists):
        assert run[scored.ranking.query_id].scores == pytest.approx(scored.ranking.scores, rel=1e-6)


def test_a_failure_is_recorded_and_the_next_run_goes_on(experiment, monkeypatch):
    other = {"folder": experiment.folder.with_name("undisturbed"), "cache": experiment.cache.with_name("other_cache")}
    undisturbed = run_experiment(replace(experiment, **other))
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


def test_labelled_lists_of_one_grade_are_told(experiment, make_folder, monkeypatch):
    no_model(monkeypatch)
    flat = make_folder("flat", qrels={q: dict.fromkeys(("d1", "d2", "d3", "d4", "d5"), 1) for q in ("q1", "q2", "q3")})
    bad = replace(experiment, train=(replace(experiment.train[0], collection=str(flat)),))
    with pytest.raises(ConfigError, match="different grades"):
        run_experiment(bad)
    assert not (experiment.folder / "heads.json").exists()


@pytest.mark.parametrize("criterion", [Contrastive(), QueryFocused()])
def test_a_criterion_without_a_relevant_candidate_is_told_before_a_model_is_loaded(
    experiment, make_folder, monkeypatch, criterion
):
    """Grade 3 exists, so the threshold can be reached; of the candidates none reaches it."""
    no_model(monkeypatch)
    folder = make_folder("low", qrels={"q1": {"d1": 1, "d3": 3}, "q2": {"d4": 1}})
    train = replace(experiment.train[0], collection=str(folder), relevance_threshold=2)
    systems = {**experiment.systems, "other": replace(experiment.systems["random"], criterion=criterion)}
    with pytest.raises(ConfigError, match=f"relevance_threshold is 2.*{criterion.name}"):
        run_experiment(replace(experiment, train=(train,), systems=systems))


def test_an_experiment_checks_its_parts(experiment):
    for change, said in (
        ({"systems": {"random": experiment.systems["random"]}}, "headrank"),
        ({"systems": {**experiment.systems, "first stage": experiment.systems["random"]}}, "first stage"),
        ({"benchmarks": ()}, "at least one benchmark"),
        ({"benchmarks": (experiment.benchmarks[0],) * 2}, r"benchmarks is \['one', 'one'\]"),
        ({"objective": "map@100"}, "objective"),
        ({"train": ()}, "labelled"),
        ({"report": ReportSettings(baseline=UNALIGNED_SYSTEM)}, "report.baseline"),
        ({"objective_from": "test"}, "objective_from"),
        ({"objective_from": "validation"}, "validation_queries"),
        ({"train": experiment.train * 2}, r"data is \['train', 'train'\]"),
        ({"train": (), "systems": {MAIN_SYSTEM: experiment.systems["random"]}, "alignment": ALIGNMENT}, "alignment"),
    ):
        with pytest.raises(ValueError, match=said):
            replace(experiment, **change)


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
