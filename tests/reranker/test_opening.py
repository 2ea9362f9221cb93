"""Opening a reranker: a model with heads from a file, a folder or pairs; saving and opening it again."""

import json
import shutil

import pytest
import torch
from transformers import AutoModel

from headrank import Passage, Reranker
from headrank.errors import ModelError
from headrank.heads import HeadsFile
from headrank.model import Head, PromptSettings, Scorer, ScorerSettings
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
