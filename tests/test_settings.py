"""Settings refuse wrong types and values when they are made, and say which."""

import math
import pickle
from dataclasses import asdict, replace
from enum import StrEnum
from typing import Annotated

import pytest

from headrank.alignment.settings import AlignmentSettings, TrainerSettings
from headrank.data import DataSettings
from headrank.errors import ConfigError
from headrank.experiment import ReadingSettings
from headrank.heads import GivenHeads
from headrank.io.artifacts import artifact_key
from headrank.model import BackboneSettings, PromptSettings, ScorerSettings
from headrank.settings import Ge, Listed, SettingsError, one_of, settings, wrong


class Kind(StrEnum):
    ROUND = "round"
    FLAT = "flat"


@settings
class Table:
    legs: Annotated[int, Ge(3)] = 4
    width: float = 1.0
    kind: Annotated[str, one_of(Kind)] = "round"
    marks: Listed[int] = ()
    folds: bool = False

    def __post_init__(self) -> None:
        if self.folds and self.kind == Kind.ROUND:
            raise wrong("folds", True, "false, or kind: flat")


@pytest.mark.parametrize(
    ("values", "key", "found"),
    [
        ({"legs": True}, "legs", "True"),
        ({"legs": 4.5}, "legs", "4.5"),
        ({"legs": 4.0}, "legs", "4.0"),
        ({"legs": "4"}, "legs", "'4'"),
        ({"legs": 2}, "legs", "2"),
        ({"legs": None}, "legs", "None"),
        ({"width": True}, "width", "True"),
        ({"width": "1"}, "width", "'1'"),
        ({"width": math.nan}, "width", "nan"),
        ({"width": -math.inf}, "width", "-inf"),
        ({"kind": "square"}, "kind", "'square'"),
        ({"kind": 1}, "kind", "1"),
        ({"marks": 1}, "marks", "1"),
        ({"marks": "12"}, "marks", "'12'"),
        ({"marks": [1, 2.5]}, "marks.1", "2.5"),
        ({"folds": 1}, "folds", "1"),
        ({"folds": "yes"}, "folds", "'yes'"),
        ({"folds": True}, "folds", "True"),
    ],
)
def test_wrong_values_are_named(values, key, found):
    with pytest.raises(SettingsError) as error:
        Table(**values)
    assert isinstance(error.value, ConfigError)
    assert isinstance(error.value, ValueError)
    assert [(one.key, one.found) for one in error.value.problems] == [(key, found)]
    assert str(error.value).startswith(f"Table.{key} is {found}, expected ")
    with pytest.raises(SettingsError, match=f"Table.{key} is"):
        replace(Table(), **values)


def test_all_wrong_values_are_named_at_once_and_unknown_names_with_the_nearest():
    with pytest.raises(SettingsError) as error:
        Table(legs=0, width=math.inf, lags=3)  # pyright: ignore[reportCallIssue]
    assert [one.key for one in error.value.problems] == ["legs", "width", "lags"]
    assert "did you mean legs?" in error.value.problems[2].expected
    with pytest.raises(SettingsError, match=r"Table\.legs is 1,"):
        Table(1)  # by position
    copy = pickle.loads(pickle.dumps(error.value))
    assert (str(copy), copy.problems) == (str(error.value), error.value.problems)


def test_what_yaml_writes_becomes_what_python_has():
    table = Table(width=2, kind=Kind.FLAT, marks=[1, 2])
    assert (table.width, table.kind, table.marks) == (2.0, "flat", (1, 2))
    assert type(table.width) is float
    assert type(table.kind) is str
    assert table == Table(width=2.0, kind="flat", marks=(1, 2))
    assert hash(table) == hash(Table(width=2.0, kind="flat", marks=(1, 2)))
    assert pickle.loads(pickle.dumps(table)) == table
    assert asdict(table) == {"legs": 4, "width": 2.0, "kind": "flat", "marks": (1, 2), "folds": False}
    assert artifact_key(table) == artifact_key(Table(width=2.0, kind="flat", marks=(1, 2)))
    with pytest.raises(AttributeError):
        table.legs = 5


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ScorerSettings(batch_size=1.5), "ScorerSettings.batch_size is 1.5"),
        (lambda: ScorerSettings(eps=math.nan), "ScorerSettings.eps is nan"),
        (lambda: ScorerSettings(power=True), "ScorerSettings.power is True"),
        (lambda: ScorerSettings(seed="abc"), "ScorerSettings.seed is 'abc'"),
        (lambda: PromptSettings(max_passage_tokens=1.5), "PromptSettings.max_passage_tokens is 1.5"),
        (lambda: PromptSettings(opening=3), "PromptSettings.opening is 3"),
        (lambda: BackboneSettings(compile="yes"), "BackboneSettings.compile is 'yes'"),
        (lambda: BackboneSettings(overrides={"a": 1}), "BackboneSettings.overrides is {'a': 1}"),
        (lambda: DataSettings("a", "b", depth=True), "DataSettings.depth is True"),
        (lambda: DataSettings("a", "b", max_queries=0), "DataSettings.max_queries is 0"),
        (lambda: DataSettings("a", "b", relevance_threshold=0), "DataSettings.relevance_threshold is 0"),
        (lambda: DataSettings("a/b", "b"), "DataSettings.name is 'a/b'"),
        (lambda: ReadingSettings(seeds=[0, 0]), "ReadingSettings.seeds is"),
        (lambda: ReadingSettings(max_layer=0), "ReadingSettings.max_layer is 0"),
        (lambda: GivenHeads([[0.5, 0]]), "GivenHeads.heads.0.0 is 0.5"),
        (lambda: TrainerSettings(devices=2.5), "TrainerSettings.devices is 2.5"),
        (lambda: AlignmentSettings.from_terms({"a": {"weight": "x", "loss": 1}}), "loss.a.weight is 'x'"),
        (lambda: AlignmentSettings.from_terms({"a": {"wieght": 1.0}}), "did you mean weight?"),
    ],
)
def test_every_kind_of_settings(make, named):
    with pytest.raises(ConfigError) as error:
        make()
    assert named in str(error.value)


def test_members_of_enumerations_are_taken_as_texts():
    assert ScorerSettings(calibration="none") == ScorerSettings(calibration="none")
    assert type(ScorerSettings(calibration="none").calibration) is str
