"""What contradicts the model or the data is refused before a model is loaded."""

import json
import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from headrank.baselines import CrossEncoderReranker, Generative, Qwen3Reranker
from headrank.errors import ConfigError, ModelError
from headrank.experiment import MAIN_SYSTEM, SystemSettings
from headrank.heads import EntropyRegularized, GivenHeads
from headrank.model import BackboneSettings, ChatTemplate, PromptSettings, count_layers
from headrank.pipeline import run_experiment
from headrank.stages.lists import DataLoader
from tests.baselines.toy import cross_encoder_folder
from tests.pipelines import no_model


def refused(experiment, monkeypatch, named: str, kind: type[Exception] = ConfigError) -> None:
    no_model(monkeypatch)
    with pytest.raises(kind) as error:
        run_experiment(experiment)
    assert named in str(error.value)
    status = json.loads((experiment.folder / "status.json").read_text())
    assert (status["state"], status["stage"]) == ("failed", "data")


def with_system(experiment, system):
    return replace(experiment, systems={**experiment.systems, MAIN_SYSTEM: system})


def test_more_layers_than_the_model_has(experiment, monkeypatch):
    deeper = replace(experiment, reading=replace(experiment.reading, max_layer=99))
    refused(deeper, monkeypatch, "reading.max_layer is 99")


def test_a_chat_template_with_tokens_that_the_model_does_not_have(experiment, monkeypatch):
    system = experiment.systems[MAIN_SYSTEM]
    template = ChatTemplate("mine", "<|turn|>", "")
    prompt = PromptSettings(chat_template=template)
    refused(with_system(experiment, replace(system, prompt=prompt)), monkeypatch, "<|turn|>")


def test_a_chat_template_with_a_token_beyond_the_embeddings(experiment, monkeypatch, tmp_path):
    folder = tmp_path / "more-tokens"
    shutil.copytree(experiment.model.model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<|turn|>"])
    tokenizer.save_pretrained(folder)
    system = replace(
        experiment.systems[MAIN_SYSTEM], prompt=PromptSettings(chat_template=ChatTemplate("mine", "", "<|turn|>"))
    )
    there = replace(experiment, model=replace(experiment.model, model=str(folder)))
    refused(with_system(there, system), monkeypatch, "<|turn|>")


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


def damaged(folder, tmp_path, name, content=b"not weights"):
    copy = shutil.copytree(folder, tmp_path / name)
    (copy / "model.safetensors").write_bytes(content)
    return BackboneSettings(str(copy), device="cpu")


def test_damaged_weights_are_refused_before_any_work(experiment, model_folder, tmp_path, monkeypatch):
    model = damaged(model_folder, tmp_path, "cut", (model_folder / "model.safetensors").read_bytes()[:-8])
    refused(replace(experiment, model=model), monkeypatch, "cut/model.safetensors", ModelError)


def test_a_missing_model_is_told_before_data_is_read(experiment, monkeypatch, tmp_path):
    monkeypatch.setattr(DataLoader, "load", lambda *_: pytest.fail("data was read"))
    missing = BackboneSettings(str(tmp_path / "nowhere"), device="cpu")
    refused(replace(experiment, model=missing), monkeypatch, "nowhere", ModelError)
    refused(replace(experiment, rerankers={"other": Generative(model=missing)}), monkeypatch, "nowhere", ModelError)


def test_models_of_rerankers_are_checked_before_any_work(experiment, model_folder, tmp_path, monkeypatch):
    encoder = cross_encoder_folder(tmp_path / "encoder")
    headless = shutil.copytree(encoder, tmp_path / "headless")
    state = {k: v for k, v in load_file(encoder / "model.safetensors").items() if "classifier" not in k}
    save_file(state, headless / "model.safetensors", metadata={"format": "pt"})
    broken = damaged(model_folder, tmp_path, "broken")
    for reranker, named in (
        (CrossEncoderReranker(BackboneSettings(str(headless), device="cpu")), "classifier.weight"),
        (CrossEncoderReranker(BackboneSettings(str(model_folder), device="cpu")), "score.weight"),
        (Qwen3Reranker(broken), "broken/model.safetensors"),
        (Generative(broken), "broken/model.safetensors"),
    ):
        refused(replace(experiment, rerankers={"other": reranker}), monkeypatch, named, ModelError)
