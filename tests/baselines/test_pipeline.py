"""The three baselines in an experiment: runs, keys, resume, the middle zone, and the prompts that are shown."""

import json
from dataclasses import replace

import pytest
import torch

import headrank.baselines.generators as generators
import headrank.baselines.qwen3_reranker as qwen3_reranker
from headrank.baselines import CrossEncoderReranker, Generative, Qwen3Reranker, Reranked
from headrank.data import read_run
from headrank.experiment import MAIN_SYSTEM, DataSettings, Experiment, SystemSettings
from headrank.heads import RandomHeads
from headrank.model import BackboneSettings, ScorerSettings
from headrank.pipeline import run_experiment
from headrank.prompts import main, prompts
from headrank.ranking import Ranking
from headrank.stages.lists import DataLoader
from tests.baselines.toy import candidates, chat_tokenizer, cross_encoder_folder, language_model, save_language_model
from tests.conftest import PASSAGES

RUN = {"q1": ["d2", "d1", "d4", "d3", "d5"], "q2": ["d4", "d3", "d1", "d5", "d2"], "q3": ["d5", "d1"]}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    chat = save_language_model(folder / "chat", language_model(chat_tokenizer()))
    return str(chat), str(cross_encoder_folder(folder / "encoder"))


@pytest.fixture
def experiment(make_folder, models, tmp_path) -> Experiment:
    chat, encoder = models
    return Experiment(
        name="test",
        folder=tmp_path / "run",
        cache=tmp_path / "cache",
        model=BackboneSettings(chat, device="cpu"),
        train=(),
        benchmarks=(DataSettings("one", str(make_folder(run=RUN)), first_stage="run", depth=5),),
        systems={MAIN_SYSTEM: SystemSettings(RandomHeads(), heads=2, scorer=ScorerSettings(order="reversed"))},
        rerankers={
            "generative": Generative(window=3, step=2, max_new_tokens=5),
            "qwen3_reranker": Qwen3Reranker(None),
            "cross_encoder": CrossEncoderReranker(BackboneSettings(encoder, device="cpu")),
        },
        metrics=("ndcg@10",),
    )


def test_they_write_the_same_runs_as_others_and_are_scored_with_them(experiment):
    (result,) = run_experiment(experiment).results
    folder = experiment.folder
    assert list(result.systems) == ["first stage", MAIN_SYSTEM, "generative", "qwen3_reranker", "cross_encoder"]
    lists = {
        item.query.id: item for item in DataLoader(experiment.cache).load(experiment.benchmarks[0]).candidates.lists
    }
    for name, settings in experiment.rerankers.items():
        run = read_run(folder / f"runs/{name}/one.trec")
        output = settings.load(experiment.model).rerank(list(lists.values()))
        for ranking in output.rankings:
            assert run[ranking.query_id].passage_ids == ranking.passage_ids
            assert run[ranking.query_id].scores == pytest.approx(ranking.scores, rel=1e-6)
    # Facts and counts of replies stand in the run folder and in the report.
    facts = json.loads((folder / "facts.json").read_text())
    replies = facts["generative/one"]["replies"]
    assert replies["windows"] == 2 + 2 + 1  # lists of 5, 5 and 2 in windows of 3, step 2
    assert facts["generative/one"]["generated_tokens"] <= 5 * replies["windows"]
    assert facts["qwen3_reranker/one"]["tokens"] > 0
    assert json.loads((folder / "metrics/one.json").read_text())["replies"] == {"generative": replies}
    report = (folder / "report.md").read_text()
    assert f"% of {replies['windows']} windows well formed" in report
    assert "time, cross_encoder on one: " in report


def test_the_middle_zone_is_that_of_the_order_read(experiment):
    (result,) = run_experiment(experiment).results
    zones = {name: system.middle_zone for name, system in result.systems.items()}
    assert {zone.lists for zone in zones.values()} == {2}, "the list of two passages has no quartile"
    # The main system reads in reversed order; a system that reads each passage alone is measured on its zone.
    relevant = [zone.zone for name, zone in zones.items() if name != "generative"]
    assert all([c.relevant for c in counts] == [c.relevant for c in relevant[0]] for counts in relevant)
    # Zones of lists of 5 are positions 2 and 3: in first-stage order d4, d3 and d1, d5, reversed d4, d1 and d1, d3.
    assert [c.relevant for c in zones["generative"].zone] == [0, 0]
    assert [c.relevant for c in zones[MAIN_SYSTEM].zone] == [1, 1]
    assert zones["generative"].homogenization.deviation is None
    assert zones["generative"].homogenization.nearly_equal is None
    assert zones["qwen3_reranker"].homogenization.deviation > 0
    assert result.systems["generative"].selectivity is not None


def test_what_is_there_is_not_made_again(experiment, monkeypatch):
    first = run_experiment(experiment)
    files = {p: p.stat().st_mtime_ns for p in experiment.folder.rglob("*.trec")}
    assert len(files) == 5

    def refuse(*_):
        raise AssertionError("a model was loaded")

    with monkeypatch.context() as patch:
        for kind in (Generative, Qwen3Reranker, CrossEncoderReranker):
            patch.setattr(kind, "load", refuse)
        again = run_experiment(experiment)
    assert again.results == first.results
    # One setting of one of them: its run alone.
    changed = {**experiment.rerankers, "generative": replace(experiment.rerankers["generative"], step=1)}
    run_experiment(replace(experiment, rerankers=changed))
    assert {p.parent.name for p, time in files.items() if p.stat().st_mtime_ns != time} == {"generative"}


def test_names_must_differ(experiment):
    for names, said in (([MAIN_SYSTEM], MAIN_SYSTEM), (["first stage"], "first stage")):
        with pytest.raises(ValueError, match=said):
            replace(experiment, rerankers=dict.fromkeys(names, Generative()))


class Backwards:
    """A system from elsewhere: no dataclass, no base class, its own loaded form."""

    device = torch.device("cpu")

    def identity(self, own):
        return {"name": "backwards"}

    def load(self, own):
        return self

    def show_prompt(self, own, item):
        return "none"

    def rerank(self, lists, on_list=None):
        rankings = []
        for item in lists:
            scores = [float(i) for i in range(len(item))]
            rankings.append(Ranking.from_scores(item.query.id, item.passage_ids, scores))
        return Reranked(tuple(rankings))


def test_a_system_from_elsewhere_takes_part(experiment):
    run_experiment(replace(experiment, rerankers={"backwards": Backwards()}))
    run = read_run(experiment.folder / "runs/backwards/one.trec")
    assert run["q1"].passage_ids == tuple(reversed(RUN["q1"]))


def test_prompts_of_all_systems_are_shown_without_a_model(experiment, monkeypatch):
    def refuse(*_):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(generators, "load_language_model", refuse)
    monkeypatch.setattr(qwen3_reranker, "load_language_model", refuse)
    item = candidates(*PASSAGES.values(), query="what causes tides")
    shown = list(prompts(experiment, item))
    assert [text.split("\n")[0] for text in shown] == [
        "━━ headrank ━━", "━━ generative ━━", "━━ qwen3_reranker ━━", "━━ cross_encoder ━━",
    ]  # fmt: skip
    # Reversed order; generation begins with the last window of three; the others read the first passage.
    assert "⟦passage 1⟧ Bread rises because of yeast.⟦/passage 1⟧" in shown[0]
    assert "⟦null query⟧ N/A⟦/null query⟧" in shown[0]
    assert "⟦[1] A lighthouse warns ships of rocks.⟧" in shown[1]
    assert "<Document>: The moon pulls the sea and makes the tides.⟧<|im_end|>" in shown[2]
    assert shown[3].count("[SEP]") == 2
    assert len(list(prompts(experiment, item, only=["generative"]))) == 1
    for empty in (candidates(), candidates("one")):
        assert len(list(prompts(experiment, empty))) == 4
    with pytest.raises(ValueError, match=r"'icr'.*headrank, generative"):
        list(prompts(experiment, item, only=["icr"]))


def test_the_command_that_shows_prompts(capsys):
    assert main(["debug=fast", "baselines=[icr]", "--system", "icr", "--query", "test-q03", "--passages", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("⟦query⟧ is it ok to put lithium batteries away for the winter fully charged⟦/query⟧") == 1
    assert out.count("⟦passage ") == 2
    for wrong, said in (
        (["--system", "qrhead"], "'qrhead'"),
        (["--query", "q0"], "'q0'"),
        (["--benchmark", "dl19"], "'dl19'"),
    ):
        with pytest.raises(SystemExit):
            main(["debug=fast", *wrong])
        assert said in capsys.readouterr().err
