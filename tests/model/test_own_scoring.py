"""Calibrations, length normalisations and context orders from outside the package."""

import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from headrank.errors import ConfigError, FormatError
from headrank.heads import HeadsFile
from headrank.io.artifacts import artifact_key
from headrank.model import (
    CalibrationSettings,
    Head,
    HeadScores,
    PromptSettings,
    Scorer,
    ScorerSettings,
    head_calibrated,
    passage_scores,
)
from headrank.ranking import CandidateList, Passage, Query, context_orders, shuffled_order
from headrank.stages.key_fields import scorer_key_content


@dataclass(frozen=True)
class Scaled:
    name: ClassVar[str] = "scaled"
    needs_null: ClassVar[bool] = False
    factor: float = 2.0

    def __call__(self, query, null, divisor, eps):
        return self.factor * query / divisor


@dataclass(frozen=True)
class WrongShape(Scaled):
    def __call__(self, query, null, divisor, eps):
        return query[:, :1]


@dataclass(frozen=True)
class PlusOne:
    name: ClassVar[str] = "plus_one"

    def __call__(self, lengths):
        return lengths.float() + 1


@dataclass(frozen=True)
class Constant:
    name: ClassVar[str] = "constant"
    divisor: object = 1.0

    def __call__(self, lengths):
        return torch.tensor(self.divisor).expand(1 if isinstance(self.divisor, list) else len(lengths))


@dataclass(frozen=True)
class ByText:
    name: ClassVar[str] = "by_text"

    def __call__(self, item, seed):
        return sorted(range(len(item)), key=lambda i: item.passages[i].text)


@dataclass(frozen=True)
class NotAnOrder(ByText):
    def __call__(self, item, seed):
        return [0] * len(item)


SCORES = HeadScores((Head(0, 0),), torch.tensor([[0.2, 0.6]]), None, torch.tensor([1, 2]))
ITEM = CandidateList(Query("q7", "what"), tuple(Passage(x, x) for x in "cab"))


def test_all_use_the_same_calibration():
    own = CalibrationSettings(Scaled(3.0), length_norm=PlusOne())
    expected = torch.tensor([3 * 0.2 / 2, 3 * 0.6 / 3])
    torch.testing.assert_close(head_calibrated(SCORES, own)[0], expected)
    torch.testing.assert_close(passage_scores(SCORES, own), expected)
    assert not own.needs_null


def test_the_model_reads_in_the_order(backbone):
    scorer = Scorer(backbone, [Head(0, 0)], settings=ScorerSettings(Scaled(), order=ByText()))
    (scored,) = scorer.score([ITEM])
    assert scored.context.passage_ids == ("a", "b", "c")


def test_context_orders_by_name():
    assert context_orders("first_stage", ITEM, 0) == ((0, 1, 2),)
    assert context_orders("reversed", ITEM, 0) == ((2, 1, 0),)
    assert context_orders("both", ITEM, 0) == ((0, 1, 2), (2, 1, 0))
    assert context_orders("shuffled", ITEM, 3) == (shuffled_order(ITEM, 3),)
    assert context_orders("shuffled", ITEM, 3, 2) == (shuffled_order(ITEM, 3), shuffled_order(ITEM, 4))


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"calibration": "residuals"}, "calibration"),
        ({"calibration": Scaled}, "calibration"),  # a class
        ({"calibration": ByText()}, "calibration"),  # without `needs_null`
        ({"length_norm": len}, "length_norm"),
        ({"order": lambda item, seed: [0]}, "order"),
        ({"calibration": Scaled(), "token_filter": True}, "token_filter"),
    ],
)
def test_other_values_are_refused(options, key):
    with pytest.raises(ConfigError, match=f"ScorerSettings.{key} is"):
        ScorerSettings(**options)


def test_wrong_results_name_the_object():
    with pytest.raises(ValueError, match=r"scaled returned the shape \(1, 1\)"):
        head_calibrated(SCORES, CalibrationSettings(WrongShape()))
    with pytest.raises(ValueError, match=r"q7.*by_text returned \(0, 0, 0\)"):
        context_orders(NotAnOrder(), ITEM, 0)
    for scale in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="scaled returned NaN or infinity"):
            head_calibrated(SCORES, CalibrationSettings(Scaled(scale)))


@pytest.mark.parametrize("divisor", [0.0, -1.0, float("nan"), [1.0]])
def test_a_wrong_length_divisor_names_the_object(divisor):
    with pytest.raises(ValueError, match="constant returned"):
        head_calibrated(SCORES, CalibrationSettings("none", length_norm=Constant(divisor)))


def test_each_value_has_its_own_key():
    def key(**options):
        return artifact_key(scorer_key_content(ScorerSettings(**options).to_dict()))

    assert key(calibration=Scaled()) == key(calibration=Scaled(2.0))
    different = [{}, {"calibration": Scaled()}, {"calibration": Scaled(3.0)}, {"calibration": WrongShape()}]
    assert len({key(**options) for options in different}) == 4
    assert key(order=ByText(), seed=0) != key(order=ByText(), seed=1), "it gets the seed"


@pytest.fixture
def saved(tmp_path):
    file = HeadsFile(
        model={"layers": 2, "heads_per_layer": 2},
        heads=(Head(0, 0),),
        weights=(1.0,),
        criterion={"name": "given"},
        prompt=PromptSettings(),
        scorer=ScorerSettings(Scaled(4.0), length_norm=PlusOne(), order=ByText()),
    )
    file.save(tmp_path / "heads.json")
    return file, tmp_path / "heads.json"


@dataclass(frozen=True)
class Named:
    name: str
    needs_null: bool

    def __call__(self, query, null, divisor, eps):
        return query


def test_fields_without_defaults_are_kept_too():
    scorer = ScorerSettings(calibration=Named("mine", False))
    assert ScorerSettings.from_dict(scorer.to_dict()) == scorer


def test_heads_files_keep_the_objects(saved):
    file, path = saved
    assert HeadsFile.load(path).scorer == file.scorer


@pytest.mark.parametrize(
    "target", ["subprocess.Popen", "os.system", "not_there.Scaled", "pathlib.Path", "", "builtins.dict"]
)
def test_a_heads_file_runs_nothing_else(saved, target):
    """Neither a module that is not imported, nor a class that is no calibration."""
    _, path = saved
    content = path.read_text()
    assert f"{__name__}.Scaled" in content
    path.write_text(content.replace(f"{__name__}.Scaled", target))
    with pytest.raises(FormatError, match=f"heads.json.*{target}"):
        HeadsFile.load(path)
    assert "not_there" not in sys.modules
