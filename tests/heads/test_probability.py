"""The map from z to a probability: its fit, the folds it rests on, its place in heads.json, and when it is dropped."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from headrank.errors import FormatError
from headrank.heads import (
    EntropyRegularized,
    FusionFit,
    GivenHeads,
    HeadsFile,
    ProbabilityCalibration,
    cross_fitted_scores,
    select_heads,
)
from headrank.heads.probability import fit_platt
from headrank.model import Head, PromptSettings, ScorerSettings, passage_scores
from tests.heads.toy import labelled, table

MAP = ProbabilityCalibration(1.5, -2.0, 2.0, {"mine": 2}, lists=3, passages=20, relevant=4, protocol="cross_fitted")
MODEL = {"id": "tiny", "revision": "abc", "layers": 3, "heads_per_layer": 2}
SCORER = ScorerSettings()


def made(**changes) -> HeadsFile:
    file = HeadsFile(MODEL, (Head(2, 1),), (1.0,), {"name": "x"}, PromptSettings(), SCORER, probability=MAP)
    return replace(file, **changes)


def noisy_table(lists=12, docs=8, heads=6):
    """Lists with random head scores, in which the first head follows the grades."""
    generator = torch.Generator().manual_seed(0)
    items = []
    for n in range(lists):
        grades = [2 if i < 2 else int(i == 2) for i in range(docs)]
        query = torch.rand(heads, docs, generator=generator)
        query[0] = query[0] * 0.5 + torch.tensor(grades) * 0.3
        null = torch.full_like(query, 0.5)
        items.append(labelled(query.tolist(), grades, null=null.tolist(), query_id=f"q{n}", threshold=2))
    return table(*items)


def test_formula():
    assert MAP([0.0, 6.0]) == pytest.approx([1 / (1 + np.exp(2)), 1 / (1 + np.exp(2 - 1.5 * np.log(3 + np.sqrt(10))))])
    steep = replace(MAP, slope=1e6)
    assert steep([-1e6, 1e6]) == (0.0, 1.0)  # no overflow


def test_the_unit_of_z_does_not_matter():
    generator = np.random.default_rng(0)
    z = generator.normal(size=500)
    relevant = (z + generator.normal(size=500) > 1).tolist()
    small, large = (
        ProbabilityCalibration.fit([((z * unit).tolist(), relevant)], {"mine": 1}, protocol="held_out")
        for unit in (1e-5, 1e4)
    )
    assert small is not None
    assert large is not None
    assert small(z * 1e-5) == pytest.approx(large(z * 1e4), abs=1e-6)
    assert small.scale == pytest.approx(1e-5 * np.median(np.abs(z)))


def test_lists_of_equal_scores_have_the_share_of_relevant_passages():
    found = ProbabilityCalibration.fit([([0.0] * 100, [True] * 25 + [False] * 75)], {"mine": 1}, protocol="held_out")
    assert found is not None
    assert found([0.0, 0.0]) == pytest.approx([0.25, 0.25], abs=0.01)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_fit_finds_the_generating_map(scale):
    generator = np.random.default_rng(0)
    z = generator.normal(size=20_000)
    relevant = generator.random(20_000) < 1 / (1 + np.exp(-(2 * z - 1)))
    slope, intercept = fit_platt(z * scale + scale, relevant)
    assert slope * scale == pytest.approx(2, abs=0.1)
    assert intercept + slope * scale == pytest.approx(-1, abs=0.1)


def test_the_fit_has_the_targets_of_platt():
    """At the optimum the mean probability is the mean target: (n+ (n+ + 1)/(n+ + 2) + n- / (n- + 2)) / n."""
    z, relevant = np.array([0.1, 0.4, 0.2, 0.9, 0.7]), np.array([False, False, True, True, False])
    slope, intercept = fit_platt(z, relevant)
    assert slope > 0
    assert (1 / (1 + np.exp(-(slope * z + intercept)))).mean() == pytest.approx((2 * 3 / 4 + 3 / 5) / 5, abs=1e-6)


def test_separated_scores_have_a_finite_fit():
    slope, intercept = fit_platt(np.array([0.0, 1.0]), np.array([False, True]))
    assert np.isfinite([slope, intercept]).all()
    assert slope > 0


def test_probabilities_never_contradict_the_ranking():
    """z that prefers irrelevant passages gets slope 0, and the share of relevant ones as the probability."""
    z, relevant = np.arange(100.0), np.arange(100) < 30
    slope, intercept = fit_platt(z, relevant)
    assert slope == 0
    assert 1 / (1 + np.exp(-intercept)) == pytest.approx(0.3, abs=0.02)


def test_z_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="1 values"):
        ProbabilityCalibration.fit([([0.0, float("nan")], [False, True])], {"mine": 1}, protocol="held_out")


def test_no_map_without_relevant_or_without_irrelevant_passages():
    for labels in ([True, True], [False, False]):
        assert ProbabilityCalibration.fit([([0.1, 0.2], labels)], {"mine": 1}, protocol="held_out") is None


def test_each_list_is_scored_by_heads_selected_on_the_other_folds():
    labels = noisy_table()
    criterion = EntropyRegularized(weight=0.0)
    found = cross_fitted_scores(labels, criterion, SCORER, count=2)
    expected = []
    for rest, held_out in labels.folds(5, 0):
        assert not {one.query_id for one in rest.lists} & {one.query_id for one in held_out}
        heads = select_heads(rest, criterion, SCORER, count=2).heads
        expected += [(passage_scores(one.scores.pick(heads), SCORER).tolist(), (one.grades >= 2).tolist())
                     for one in held_out]  # fmt: skip
    assert [(one.z, one.relevant) for one in found] == expected
    assert len(found) == len(labels.lists)
    kept = cross_fitted_scores(labels, criterion, SCORER, count=2, left_out={"q0", "q5"})
    zs = [passage_scores(one.scores.pick(select_heads(rest, criterion, SCORER, count=2).heads), SCORER).tolist()
          for rest, held_out in labels.folds(5, 0) for one in held_out if one.query_id not in ("q0", "q5")]  # fmt: skip
    assert [one.z for one in kept] == zs


def test_the_map_records_what_it_rests_on():
    lists = cross_fitted_scores(noisy_table(), EntropyRegularized(weight=0.0), SCORER, count=1)
    scores = [(one.z, one.relevant) for one in lists]
    found = ProbabilityCalibration.fit(scores, {"mine": 2}, protocol="cross_fitted")
    assert found is not None
    assert (found.lists, found.passages, found.relevant, found.thresholds) == (12, 96, 24, {"mine": 2})
    assert found.slope > 0
    assert all(text in found.origin for text in ("mine", "2", "12", "96", "24"))


@pytest.mark.parametrize(
    ("scorer", "criterion", "lists"),
    [
        (ScorerSettings(power=0.0, token_filter=True), EntropyRegularized(), 12),
        (SCORER, EntropyRegularized(), 1),
    ],
)
def test_no_scores_without_tokens_or_other_lists(scorer, criterion, lists):
    assert cross_fitted_scores(noisy_table(lists), criterion, scorer, count=1) == []


def test_given_heads_score_every_list():
    table, heads = noisy_table(), (Head(0, 0),)
    found = {tuple(one.z) for one in cross_fitted_scores(table, GivenHeads(heads), SCORER, count=1)}
    assert found == {tuple(passage_scores(one.scores.pick(heads), SCORER).tolist()) for one in table.lists}


def test_round_trip_and_files_without_the_key(tmp_path):
    path = tmp_path / "heads.json"
    made().save(path)
    assert HeadsFile.load(path) == made()
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["probability"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert HeadsFile.load(path) == made(probability=None)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"slope": -1.0}, "-1.0"),
        ({"slope": True}, "True"),
        ({"scale": 0.0}, r"0\.0"),
        ({"intercept": "2"}, "'2'"),
        ({"intercept": float("inf")}, "Infinity"),
        ({"lists": 2.5}, "2.5"),
        ({"relevant": 20}, "20"),
        ({"relevant": 0}, "0"),
        ({"lists": 21}, "21"),
        ({"thresholds": {}}, "{}"),
        ({"thresholds": {"mine": 0}}, "'mine': 0"),
        ({"thresholds": [2]}, r"\[2\]"),
        ({"protocol": "guessed"}, "guessed"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_damaged_map_is_refused(change, found, tmp_path):
    path = tmp_path / "heads.json"
    made().save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["probability"] |= change
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FormatError, match=found):
        HeadsFile.load(path)


@pytest.mark.parametrize("content", [[], 3, {"slope": 1.0}, "text"])
def test_a_map_of_another_kind_is_refused(content):
    with pytest.raises(ValueError, match="slope"):
        ProbabilityCalibration.from_dict(content)


def test_other_settings_drop_the_map():
    file = made()
    assert file.with_settings() == file
    assert file.with_settings(scorer=ScorerSettings(batch_size=3)).probability == MAP
    for scorer in (ScorerSettings(power=1.0), ScorerSettings(order="reversed")):
        assert file.with_settings(scorer=scorer) == made(scorer=scorer, probability=None)
    prompt = PromptSettings(max_passage_tokens=7)
    assert file.with_settings(prompt=prompt) == made(prompt=prompt, probability=None)


def test_fused_scores_have_the_map_that_was_fitted_on_them():
    file = made()
    fused = file.with_settings(scorer=ScorerSettings(fusion=0.5))
    assert (file.used_probability, fused.probability, fused.used_probability) == (MAP, MAP, None)
    other = replace(MAP, slope=0.25)
    fit = FusionFit(0.5, ((0.0, 0.4), (0.5, 0.6)), 0.5, lists=30, protocol="cross_fitted", probability=other)
    fused = replace(fused, fusion=fit)
    assert fused.used_probability == other
    assert fused.with_settings(scorer=ScorerSettings()).used_probability == MAP
    assert fused.with_settings(scorer=ScorerSettings(fusion=0.25)).used_probability is None  # fitted for .5
    assert fused.with_settings(scorer=ScorerSettings(power=1.0, fusion=0.5)).fusion is None  # another z
