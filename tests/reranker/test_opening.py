"""Opening a reranker: a model with heads from a file, a folder or pairs; saving and opening it again."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoModel

from headrank import Passage, Reranker
from headrank.errors import ConfigError, FormatError, MissingModelError, ModelError
from headrank.heads import HeadsFile
from headrank.model import Head, PromptSettings, Scorer, ScorerSettings
from headrank.model.loading import folder as folder_module
from headrank.ranking import CandidateList, Query

PAIRS = [(1, 2), (0, 3)]
TEXTS = ["the first passage", "", "another passage", "the first passage", "x" * 400]
QUERY = "which passage is the first?"


@pytest.fixture(scope="module")
def reranker(model_folder) -> Reranker:
    return Reranker.from_pretrained(model_folder, PAIRS, device="cpu")


@pytest.fixture
def heads_json(tmp_path, model_folder):
    file = HeadsFile(
        model={"id": str(model_folder), "revision": None, "layers": 3, "heads_per_layer": 4},
        heads=(Head(1, 2), Head(0, 3)),
        weights=(1.0, 0.5),
        criterion={"name": "given"},
        prompt=PromptSettings(max_passage_tokens=9),
        scorer=ScorerSettings(calibration="none", order="both"),
    )
    file.save(tmp_path / "heads.json")
    return tmp_path / "heads.json"


def test_only_the_layers_in_use_are_loaded(reranker):
    assert (reranker.backbone.depth, reranker.backbone.layers) == (2, 3)
    assert reranker.heads.depth == 2
    assert reranker.heads.model["layers"] == 3


def test_all_heads(model_folder):
    everything = Reranker.from_pretrained(model_folder, "all", device="cpu")
    assert len(everything.heads.heads) == 12
    assert everything.backbone.depth == 3
    assert len(everything.rank(QUERY, TEXTS)) == 5


def test_a_heads_file_brings_its_settings(model_folder, heads_json):
    for heads in (heads_json, str(heads_json), HeadsFile.load(heads_json)):
        reranker = Reranker.from_pretrained(model_folder, heads, device="cpu")
        assert reranker.heads.scorer == ScorerSettings(calibration="none", order="both")
        assert reranker.heads.prompt == PromptSettings(max_passage_tokens=9)
        assert reranker.heads.weights == (1.0, 0.5)
    item = CandidateList(Query("0", QUERY), tuple(Passage(str(i), text) for i, text in enumerate(TEXTS)))
    direct = Scorer(
        reranker.backbone,
        [Head(1, 2), Head(0, 3)],
        weights=[1.0, 0.5],
        prompt=PromptSettings(max_passage_tokens=9),
        settings=ScorerSettings(calibration="none", order="both"),
    ).score([item])[0]
    assert [r.score for r in reranker.rank(QUERY, TEXTS)] == pytest.approx(list(direct.ranking.scores))


def test_settings_given_replace_the_files(model_folder, heads_json):
    scorer, prompt = ScorerSettings(order="reversed"), PromptSettings(null_query="")
    reranker = Reranker.from_pretrained(model_folder, heads_json, device="cpu", scorer=scorer, prompt=prompt)
    assert (reranker.heads.scorer, reranker.heads.prompt) == (scorer, prompt)
    plain = Reranker.from_pretrained(model_folder, heads_json, device="cpu")
    assert [r.score for r in reranker.rank(QUERY, TEXTS)] != [r.score for r in plain.rank(QUERY, TEXTS)]


def test_saved_and_opened_again_it_scores_the_same(model_folder, heads_json, tmp_path):
    reranker = Reranker.from_pretrained(model_folder, heads_json, device="cpu")
    reranker.save(tmp_path / "saved")
    again = Reranker.from_pretrained(tmp_path / "saved", device="cpu")
    assert again.rank(QUERY, TEXTS) == reranker.rank(QUERY, TEXTS)
    assert again.heads == reranker.heads
    assert (again.backbone.depth, again.backbone.layers) == (2, 3)
    # and once more, from what was opened
    again.save(str(tmp_path / "twice"))
    assert Reranker.from_pretrained(str(tmp_path / "twice"), device="cpu").rank(QUERY, TEXTS) == reranker.rank(
        QUERY, TEXTS
    )
    with torch.no_grad():
        ids = torch.arange(3, 30)[None]
        plain = AutoModel.from_pretrained(tmp_path / "saved", dtype=torch.float32)
        assert torch.equal(plain(ids).last_hidden_state, reranker.backbone.model(ids).last_hidden_state)


def test_saving_onto_a_folder_is_refused_and_a_failure_leaves_none(model_folder, heads_json, tmp_path, monkeypatch):
    reranker = Reranker.from_pretrained(model_folder, heads_json, device="cpu")
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="there exists"):
        reranker.save(tmp_path / "there")

    def fail(path):
        raise OSError("no space left on device")

    monkeypatch.setattr(type(reranker.heads), "save", lambda self, path: fail(path))
    with pytest.raises(OSError, match="no space"):
        reranker.save(tmp_path / "half")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["there"]


def test_a_folder_without_heads_says_what_to_give(model_folder):
    with pytest.raises(ValueError, match=r"has no heads\.json: give heads="):
        Reranker.from_pretrained(model_folder)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([(3, 0)], r"heads 3-0 \(layer-head\) are outside of a model of 3 layers with 4 heads"),
        ([(0, 4)], r"heads 0-4"),
        ([(-1, 0)], r"heads -1-0"),
        ([], "no heads are given"),
        ([(0, 0), (0, 0)], "twice"),
    ],
)
def test_pairs_that_do_not_fit_the_model(heads, message, model_folder):
    with pytest.raises(ValueError, match=message):
        Reranker.from_pretrained(model_folder, heads, device="cpu")


@pytest.mark.parametrize(("layer", "head"), [(11, 0), (0, 7), (1, 1)])
def test_a_heads_file_of_another_model(layer, head, model_folder, heads_json):
    content = json.loads(heads_json.read_text())
    content["heads"] = [{"layer": layer, "head": head}]
    content["model"] |= {"layers": 12, "heads_per_layer": 8}
    content["depth"] = layer + 1
    heads_json.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"3 layers of 4 heads.*12 layers of 8 heads"):
        Reranker.from_pretrained(model_folder, heads_json, device="cpu")


def test_files_that_are_not_there_or_broken(model_folder, heads_json, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        Reranker.from_pretrained(model_folder, tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Reranker.from_pretrained(tmp_path / "none", PAIRS)
    heads_json.write_text("{")
    with pytest.raises(ValueError, match=r"heads\.json:"):
        Reranker.from_pretrained(model_folder, heads_json)
    folder = shutil.copytree(model_folder, tmp_path / "copy")
    shutil.copy(heads_json, folder / "heads.json")
    with pytest.raises(ValueError, match=r"copy/heads\.json:"):
        Reranker.from_pretrained(folder)


def test_single_settings_replace_fields_of_the_file(model_folder, heads_json):
    base = HeadsFile.load(heads_json)
    short = Reranker.from_pretrained(
        model_folder,
        heads_json,
        device="cpu",
        max_passage_tokens=5,
        max_query_tokens=7,
        instruction="Find them.",
        batch_size=3,
    )
    prompt = replace(base.prompt, max_passage_tokens=5, max_query_tokens=7, instruction="Find them.")
    assert (short.heads.prompt, short.heads.scorer) == (prompt, replace(base.scorer, batch_size=3))
    whole = Reranker.from_pretrained(model_folder, heads_json, device="cpu", prompt=prompt)
    assert short.rank(QUERY, TEXTS) == whole.rank(QUERY, TEXTS)
    assert Reranker.from_pretrained(model_folder, PAIRS, device="cpu", batch_size=3).heads.prompt == PromptSettings()


@pytest.fixture
def run(model_folder, reranker, tmp_path):
    """A run folder without alignment."""
    folder = tmp_path / "run"
    folder.mkdir()
    reranker.heads.save(folder / "heads.json")
    (folder / "config.yaml").write_text("alignment:\n  _none_: true\n")
    return folder


def test_a_run_folder_opens_the_model_of_its_heads(run, reranker, model_folder, caplog):
    for folder in (run, str(run)):
        opened = Reranker.from_pretrained(folder, device="cpu")
        assert opened.rank(QUERY, TEXTS) == reranker.rank(QUERY, TEXTS)
        assert opened.backbone.settings.model == str(model_folder)
    assert Reranker.from_pretrained(run, "0-0", device="cpu").heads.heads == (Head(0, 0),)
    assert "aligned" not in caplog.text
    with pytest.raises(ConfigError, match="'main'"):
        Reranker.from_pretrained(run, revision="main")


def test_a_run_folder_with_a_checkpoint_opens_it(run, reranker, model_folder, caplog):
    (run / "config.yaml").write_text("alignment:\n  epochs: 1\n")
    assert Reranker.from_pretrained(run, device="cpu").heads == reranker.heads
    assert "aligned checkpoint" in caplog.text  # it does not exist yet
    Reranker.from_pretrained(model_folder, [(0, 1)], device="cpu").save(run / "checkpoint")
    opened = Reranker.from_pretrained(run, device="cpu")
    assert opened.heads.heads == (Head(0, 1),)
    assert opened.backbone.settings.model == str(run / "checkpoint")
    (run / "config.yaml").write_text("alignment:\n  _none_: true\n")  # the checkpoint is an earlier run's
    assert Reranker.from_pretrained(run, device="cpu").heads == reranker.heads
    (run / "config.yaml").unlink()
    (run / "heads.json").unlink()
    assert Reranker.from_pretrained(run, device="cpu").heads.heads == (Head(0, 1),)


def test_a_run_folder_opens_the_revision_of_its_heads(run, reranker, monkeypatch):
    replace(reranker.heads, model=reranker.heads.model | {"id": "owner/model", "revision": "a" * 40}).save(
        run / "heads.json"
    )
    asked = []

    def fail(model, revision, needs):
        asked.append((model, revision))
        raise MissingModelError("offline")

    monkeypatch.setattr(folder_module, "_snapshot", fail)
    with pytest.raises(MissingModelError):
        Reranker.from_pretrained(run)
    assert asked == [("owner/model", "a" * 40)]


def test_a_run_folder_of_random_weights_cannot_be_opened(run, reranker, model_folder):
    replace(reranker.heads, model=reranker.heads.model | {"weights": None}).save(run / "heads.json")
    with pytest.raises(ModelError, match="random weights"):
        Reranker.from_pretrained(run)


def test_a_run_folder_whose_heads_name_no_model_cannot_be_opened(run, reranker):
    model = {name: value for name, value in reranker.heads.model.items() if name != "id"}
    replace(reranker.heads, model=model).save(run / "heads.json")
    with pytest.raises(FormatError, match=r"heads\.json: the model's id is None"):
        Reranker.from_pretrained(run)
