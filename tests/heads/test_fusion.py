"""The fusion weight that labelled lists give: its choice, its evidence, and what a damaged file is."""

import json
import math
from dataclasses import replace

import pytest
import torch

from headrank.errors import ConfigError, FormatError
from headrank.heads import FusionFit, HeadsFile, ProbabilityCalibration, ScoredLabels, fit_fusion
from headrank.heads.fusion import MIN_LISTS, WEIGHTS
from headrank.model import Head, PromptSettings, ScorerSettings
from headrank.model.fusion import fuse_first_stage

MODEL = {"id": "tiny", "revision": "abc", "layers": 3, "heads_per_layer": 2}
FIT = FusionFit(0.5, ((0.0, 0.25), (0.5, 0.75)), 0.5, lists=30, protocol="held_out")


def lists(z, grades, count=MIN_LISTS):
    return [ScoredLabels(z, grades, 1)] * count


def test_scores_that_mislead_get_the_first_stages_rank():
    """The first passage is relevant; z puts it second, behind the last. A large weight lifts it."""
    z, grades = [1.0, 0.0, 0.0, 1.25], [1, 0, 0, 0]
    found = fit_fusion(lists(z, grades), "held_out")
    assert found is not None
    first = [int(fuse_first_stage(torch.tensor(z), w).argmax()) == 0 for w in WEIGHTS[1:]]
    expected = [1 / math.log2(3), *(1.0 if best else 1 / math.log2(3) for best in first)]
    assert [value for _, value in found.curve] == pytest.approx(expected)
    assert found.weight == WEIGHTS[1 + first.index(True)]  # the smallest of equal ones
    assert (found.first_stage, found.lists, found.protocol) == (1.0, MIN_LISTS, "held_out")


def test_scores_that_are_right_get_none():
    found = fit_fusion(lists([0.0, 1.0, 0.5], [0, 2, 1]), "cross_fitted")
    assert found is not None
    assert (found.weight, dict(found.curve)[0.0]) == (0.0, 1.0)
    assert found.first_stage < 1


def test_a_gain_within_its_standard_error_is_chance():
    """Three lists gain what two others lose."""
    z = [1.0, 0.0, 0.0, 1.25]
    changed = lists(z, [1, 0, 0, 0], 3) + lists(z, [0, 0, 0, 1], 2)
    found = fit_fusion(changed + lists([9.0, 1.0, 1.0, 1.0], [1, 0, 0, 0]), "held_out")
    assert found is not None
    assert max(found.curve, key=lambda point: point[1])[0] > 0
    assert found.weight == 0.0


def test_few_lists_and_lists_of_one_grade_give_no_fit():
    assert fit_fusion(lists([1.0, 2.0], [1, 0], MIN_LISTS - 1), "held_out") is None
    assert fit_fusion(lists([1.0, 2.0], [1, 0], MIN_LISTS - 1) + lists([1.0, 2.0], [1, 1]), "held_out") is None


def test_the_probability_is_fitted_on_fused_scores():
    z, grades = [3.0, 1.0, 2.0], [1, 0, 0]
    found = FIT.with_probability(lists(z, grades), {"mine": 1}, "held_out").probability
    fused = fuse_first_stage(torch.tensor(z), 0.5).tolist()
    labels = [True, False, False]
    assert found == ProbabilityCalibration.fit([(fused, labels)] * MIN_LISTS, {"mine": 1}, protocol="held_out")


def made(**changes):
    scorer = ScorerSettings(fusion=0.5)
    return replace(
        HeadsFile(MODEL, (Head(2, 1),), (1.0,), {"name": "x"}, PromptSettings(), scorer, fusion=FIT), **changes
    )


def test_round_trip_and_files_of_earlier_versions(tmp_path):
    path = tmp_path / "heads.json"
    fitted = FIT.with_probability(lists([3.0, 1.0, 2.0], [1, 0, 0]), {"mine": 1}, "held_out")
    made(fusion=fitted).save(path)
    assert HeadsFile.load(path) == made(fusion=fitted)
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["fusion"]
    content["scorer"]["fusion_alpha"] = content["scorer"].pop("fusion")
    path.write_text(json.dumps(content), encoding="utf-8")
    assert HeadsFile.load(path) == made(fusion=None)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"weight": -1.0}, "-1.0"),
        ({"weight": 0.75}, r"0\.75"),
        ({"curve": [[0.5, 0.75]]}, r"0\.75"),
        ({"first_stage": "high"}, "high"),
        ({"lists": 0}, "0 lists"),
        ({"protocol": "guessed"}, "guessed"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_damaged_fit_is_refused(change, found, tmp_path):
    path = tmp_path / "heads.json"
    made().save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["fusion"] |= change
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FormatError, match=found):
        HeadsFile.load(path)


def test_only_a_number_scores(tmp_path):
    path = tmp_path / "heads.json"
    made().save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["scorer"]["fusion"] = "auto"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FormatError, match="auto"):
        HeadsFile.load(path)
    for wrong in (-1, "often", True, float("nan"), None):
        with pytest.raises(ConfigError, match=str(wrong)):
            ScorerSettings(fusion=wrong)


def test_fusion_does_not_hide_what_is_not_finite():
    for wrong in (float("nan"), float("inf")):
        assert fuse_first_stage(torch.tensor([wrong, 1.0, 2.0]), 1.0).isnan().any()
