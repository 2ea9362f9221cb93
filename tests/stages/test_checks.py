"""What contradicts the model or the data is refused before a model is loaded."""

import json
from dataclasses import replace

import pytest

from headrank.errors import ConfigError
from headrank.experiment import MAIN_SYSTEM, SystemSettings
from headrank.heads import EntropyRegularized, GivenHeads
from headrank.model import BackboneSettings, count_layers
from headrank.pipeline import run_experiment
from tests.pipelines import no_model


def refused(experiment, monkeypatch, named: str) -> None:
    no_model(monkeypatch)
    with pytest.raises(ConfigError) as error:
        run_experiment(experiment)
    assert named in str(error.value)
    status = json.loads((experiment.folder / "status.json").read_text())
    assert (status["state"], status["stage"]) == ("failed", "data")


def with_system(experiment, system):
    return replace(experiment, systems={**experiment.systems, MAIN_SYSTEM: system})


def test_more_layers_than_the_model_has(experiment, monkeypatch):
    deeper = replace(experiment, selection=replace(experiment.selection, max_layer=99))
    refused(deeper, monkeypatch, "reading.max_layer is 99")


def test_more_heads_than_the_layers_have(experiment, monkeypatch):
    refused(
        with_system(experiment, SystemSettings(EntropyRegularized(), heads=13)), monkeypatch, "selection.heads is 13"
    )


@pytest.mark.parametrize("head", [[3, 0], [0, 4]])
def test_given_heads_that_the_model_does_not_have(experiment, monkeypatch, head):
    system = SystemSettings(GivenHeads([[0, 0], head]))
    refused(with_system(experiment, system), monkeypatch, f"selection.criterion.heads has {head}")


@pytest.mark.parametrize("group", ["benchmarks", "train"])
def test_a_threshold_above_every_grade(experiment, monkeypatch, make_folder, group):
    binary = make_folder("binary", qrels={"q1": {"d1": 1, "d2": 0}, "q2": {"d3": 1}, "q3": {"d5": 1}})
    parts = tuple(replace(one, collection=str(binary), relevance_threshold=2) for one in getattr(experiment, group))
    refused(replace(experiment, **{group: parts}), monkeypatch, f"{parts[0].name}: relevance_threshold is 2")


def test_fields_that_no_model_configuration_has(model_folder):
    for values, named in (
        ({"family": "qwen3", "overrides": {"hidden_sise": 32}}, "did you mean hidden_size?"),
        ({"family": "qwen33"}, "model.family is 'qwen33'"),
        ({"model": str(model_folder), "overrides": {"num_layer": 2}}, "model.overrides.num_layer"),
    ):
        with pytest.raises(ConfigError) as error:
            count_layers(BackboneSettings(random_weights=True, **values))
        assert named in str(error.value)
    assert (
        count_layers(BackboneSettings(str(model_folder), random_weights=True, overrides={"num_hidden_layers": 2}))[0]
        == 2
    )
