"""A fusion weight that labelled lists give, through the pipeline: heads file, report, alignment, reranker."""

from dataclasses import replace

import pytest
import torch

from headrank.errors import ConfigError
from headrank.evaluation import score_queries
from headrank.experiment import FIRST_STAGE_SYSTEM, MAIN_SYSTEM, UNALIGNED_SYSTEM, SystemSettings
from headrank.heads import AllHeads, HeadsFile
from headrank.model import Head, Scorer, ScorerSettings, load_backbone
from headrank.model.fusion import fuse_first_stage
from headrank.pipeline import run_experiment
from headrank.reranker import Reranker
from headrank.stages.lists import DataLoader
from tests.pipelines import ALIGNMENT, files, no_model


def first_candidate(scores, grades):
    """A measure for which the first stage's best passage should win."""
    return torch.sigmoid(scores[:, 0])


@pytest.fixture
def fusing(experiment, monkeypatch):
    """Fits the fusion weight on three lists."""
    monkeypatch.setattr("headrank.heads.fusion.MIN_LISTS", 3)
    main = replace(experiment.systems[MAIN_SYSTEM], scorer=ScorerSettings(fusion="auto"))
    return replace(experiment, systems={MAIN_SYSTEM: main})


def test_a_fitted_fusion_reports_both_numbers(fusing, monkeypatch):
    monkeypatch.setattr("headrank.heads.fusion.WEIGHTS", (0.0, 4.0))
    monkeypatch.setattr("headrank.heads.fusion.ndcg", first_candidate)
    outcome = run_experiment(fusing)
    heads = HeadsFile.load(fusing.folder / "heads.json")
    assert heads.fusion is not None
    assert (heads.scorer.fusion, heads.fusion.lists, heads.fusion.protocol) == (4.0, 3, "cross_fitted")
    one = outcome.results[0]
    unfused = f"{MAIN_SYSTEM} without fusion"
    assert list(one.systems) == [FIRST_STAGE_SYSTEM, MAIN_SYSTEM, unfused]
    benchmark = DataLoader(fusing.cache).load(fusing.benchmarks[0])
    lists, qrels = benchmark.candidates.lists, benchmark.collection.qrels
    backbone = load_backbone(fusing.model, depth=heads.depth)
    for system, fusion in ((MAIN_SYSTEM, 4.0), (unfused, 0.0)):
        scorer = Scorer(backbone, heads.heads, settings=replace(heads.scorer, fusion=fusion))
        run = {scored.ranking.query_id: scored.ranking for scored in scorer.score(lists)}
        values = score_queries(run, qrels, query_ids=one.query_ids, metrics=["ndcg@10"])["ndcg@10"]
        assert one.systems[system].per_query["ndcg@10"] == pytest.approx(values, abs=1e-9)
    fused, plain = (one.systems[name].probability for name in (MAIN_SYSTEM, unfused))
    assert fused is not None
    assert plain is not None
    assert fused.predicted != plain.predicted
    before = files(fusing.folder)
    no_model(monkeypatch)
    assert run_experiment(fusing).results == outcome.results
    assert files(fusing.folder) == before


def test_a_fusion_that_does_not_help_is_0(fusing, monkeypatch):
    monkeypatch.setattr("headrank.heads.fusion.ndcg", lambda scores, grades: scores[:, 0] * 0)
    outcome = run_experiment(fusing)
    heads = HeadsFile.load(fusing.folder / "heads.json")
    assert heads.fusion is not None
    assert (heads.fusion.weight, heads.scorer.fusion, heads.used_probability) == (0.0, 0.0, heads.probability)
    assert list(outcome.results[0].systems) == [FIRST_STAGE_SYSTEM, MAIN_SYSTEM]
    assert heads.fusion.summary in (fusing.folder / "report.md").read_text()


def test_too_few_lists_fit_no_fusion(fusing, monkeypatch):
    monkeypatch.setattr("headrank.heads.fusion.MIN_LISTS", 4)
    run_experiment(fusing)
    heads = HeadsFile.load(fusing.folder / "heads.json")
    assert (heads.fusion, heads.scorer.fusion) == (None, 0.0)


def test_alignment_keeps_the_fusion_of_its_start_for_few_held_out_lists(fusing, monkeypatch):
    monkeypatch.setattr("headrank.heads.fusion.ndcg", first_candidate)
    outcome = run_experiment(replace(fusing, alignment=ALIGNMENT))
    start, aligned = (HeadsFile.load(fusing.folder / name) for name in ("heads.json", "checkpoint/heads.json"))
    assert start.fusion is not None
    assert aligned.fusion is not None
    assert aligned.scorer.fusion == start.fusion.weight > 0
    assert aligned.fusion.curve == start.fusion.curve
    suffix = " without fusion"
    names = [MAIN_SYSTEM, MAIN_SYSTEM + suffix, UNALIGNED_SYSTEM, UNALIGNED_SYSTEM + suffix]
    assert list(outcome.results[0].systems) == [FIRST_STAGE_SYSTEM, *names]
    query, texts = "which passage?", ["the first passage", "another passage", "one more"]
    opened = Reranker.from_pretrained(fusing.folder, device="cpu")
    assert opened.heads.scorer.fusion == 0  # the order of the passages may mean nothing
    fused = Reranker.from_pretrained(fusing.folder, device="cpu", fuse=True)
    assert fused.heads.scorer.fusion == aligned.scorer.fusion
    assert Reranker.from_pretrained(fusing.folder, device="cpu", fuse=None).heads == fused.heads
    given = Reranker.from_pretrained(fusing.folder, device="cpu", scorer=ScorerSettings(fusion=2.0), fuse=True)
    assert given.heads.scorer.fusion == 2.0  # a given scorer decides
    z = {one.index: one.score for one in opened.rank(query, texts)}
    expected = fuse_first_stage(torch.tensor([z[i] for i in range(3)]), aligned.scorer.fusion)
    assert {one.index: one.score for one in fused.rank(query, texts)} == pytest.approx(
        dict(enumerate(expected.tolist())), abs=1e-4
    )


def test_a_fusion_to_fit_needs_labelled_lists(fusing):
    with pytest.raises(ConfigError, match="auto"):
        replace(
            fusing, train=(), systems={MAIN_SYSTEM: SystemSettings(AllHeads(), scorer=ScorerSettings(fusion="auto"))}
        )
    with pytest.raises(ConfigError, match="auto"):
        Scorer(load_backbone(fusing.model, depth=1), [Head(0, 0)], settings=ScorerSettings(fusion="auto"))
    with pytest.raises(ConfigError, match="fuse"):
        Reranker.from_pretrained(fusing.model.model, [(0, 0)], device="cpu", fuse=True)
