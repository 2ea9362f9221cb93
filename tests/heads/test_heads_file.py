"""heads.json: what is written is read again, and what is broken is named."""

import dataclasses
import json
from dataclasses import replace

import pytest
import torch

from headrank.heads import HeadsFile, Selection, heads_file
from headrank.model import ChatTemplate, Head, PromptSettings, ScorerSettings, all_heads

MODEL = {"id": "tiny", "revision": "abc", "layers": 3, "heads_per_layer": 2}


def selection(*, labelled: bool = True) -> Selection:
    score = torch.tensor([0.5, 0.25, float("-inf"), 0.125])
    return Selection(
        (Head(1, 1), Head(0, 0)),
        all_heads(2, 2),
        score,
        torch.tensor([0.75, 0.5, 0.5, 1.0]) if labelled else None,
        torch.tensor([1.0, 0.5, 0.25, 0.125]) if labelled else None,
    )


def made(*, labelled: bool = True) -> HeadsFile:
    return heads_file(
        selection(labelled=labelled),
        model=MODEL,
        criterion={"name": "entropy_regularized", "parameters": {"weight": 0.1}},
        prompt=PromptSettings(null_query="数\n", max_passage_tokens=None),
        scorer=ScorerSettings(order="both", power=0.25),
        query_ids=["q1", "q2"],
        seeds=[0, 1],
        project_version="0.1.0",
    )


@pytest.mark.parametrize("labelled", [True, False])
def test_round_trip(labelled, tmp_path):
    file = made(labelled=labelled)
    file.save(tmp_path / "heads.json")
    assert HeadsFile.load(tmp_path / "heads.json") == file
    assert file.depth == 2


def test_round_trip_of_a_given_chat_template(tmp_path):
    template = ChatTemplate("mine", "<|im_start|>", "<|im_end|>", markers=("<|im_start|>",))
    file = replace(made(), prompt=PromptSettings(chat_template=template))
    file.save(tmp_path / "heads.json")
    assert HeadsFile.load(tmp_path / "heads.json") == file


def test_files_of_earlier_versions_are_read(tmp_path):
    """Chat templates and their rows were called layouts."""

    def older(content):
        content["prompt"]["layout"] = content["prompt"].pop("chat_template")
        content["scorer"]["query_rows"] = "layout"

    file = made()
    assert HeadsFile.load(broken(tmp_path, older)) == replace(file, scorer=replace(file.scorer, query_rows="published"))


def test_round_trip_of_bare_pairs(tmp_path):
    """Nothing was measured of heads that came as pairs, and the file says nothing of it."""
    file = HeadsFile(MODEL, (Head(2, 1),), (1.0,), {"name": "given"}, PromptSettings(), ScorerSettings())
    file.save(tmp_path / "heads.json")
    assert HeadsFile.load(tmp_path / "heads.json") == file
    assert json.loads((tmp_path / "heads.json").read_text())["heads"] == [{"layer": 2, "head": 1, "weight": 1.0}]


def test_what_the_file_says(tmp_path):
    made().save(tmp_path / "heads.json")
    content = json.loads((tmp_path / "heads.json").read_text(encoding="utf-8"))
    assert content["heads"] == [
        {"layer": 1, "head": 1, "weight": 1.0, "discriminability": 1.0, "entropy": 0.125, "score": 0.125},
        {"layer": 0, "head": 0, "weight": 1.0, "discriminability": 0.75, "entropy": 1.0, "score": 0.5},
    ]
    assert content["model"] == MODEL
    assert content["depth"] == 2
    assert content["query_ids"] == ["q1", "q2"]
    assert content["seeds"] == [0, 1]
    assert content["scorer"]["power"] == 0.25
    # every head of the model has a place in the table; what was not read or was excluded is null (-inf is no JSON)
    assert content["table"]["discriminability"] == [[0.75, 0.5], [0.5, 1.0], [None, None]]
    assert content["table"]["score"] == [[0.5, 0.25], [None, 0.125], [None, None]]
    assert made(labelled=False).table is None


def broken(tmp_path, change):
    content = json.loads(json.dumps(made().to_dict()))
    change(content)
    path = tmp_path / "heads.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("heads"), "the key 'heads'"),
        (lambda c: c.pop("model"), "the key 'model'"),
        (lambda c: c["model"].pop("layers"), "the key 'layers'"),
        (lambda c: c.update(heads=[]), "no heads are given"),
        (lambda c: c["heads"].append({"layer": 3, "head": 0}), r"heads 3-0 \(layer-head\) are outside of a model of 3"),
        (lambda c: c["heads"].append({"layer": 0, "head": 2}), "heads 0-2"),
        (lambda c: c["heads"].append({"layer": -1, "head": 0}), "heads -1-0"),
        (lambda c: c["heads"].append({"layer": 0, "head": 0}), "twice"),
        (lambda c: c["heads"].append({"layer": 0}), "the key 'head'"),
        (lambda c: c["heads"].append("0-1"), "TypeError"),
        (lambda c: c["heads"][0].update(weight="much"), "ValueError"),
        (lambda c: c["heads"][0].update(weight=float("nan")), "NaN"),
        (lambda c: [head.update(weight=0) for head in c["heads"]], r"weights are \(0\.0, 0\.0\)"),
        (lambda c: c["heads"][0].update(layer=1.5), "1.5"),
        (lambda c: c["scorer"].update(order="random"), "ScorerSettings.order is 'random'"),
        (lambda c: c["scorer"].update(colour="red"), "colour"),
        (lambda c: c["prompt"].update(max_passage_tokens=0), "PromptSettings.max_passage_tokens is 0"),
        (lambda c: c.update(heads=None), "TypeError"),
        (lambda c: c["heads"][0].update(wieght=0.5), "'wieght'"),
        (lambda c: c.update(depth=1), "depth is 1; expected 2"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(change, message, tmp_path):
    path = broken(tmp_path, change)
    with pytest.raises(ValueError, match=rf"heads\.json: .*{message}"):
        HeadsFile.load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"heads"', "\x00"])
def test_files_that_are_something_else(text, tmp_path):
    path = tmp_path / "heads.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"heads\.json:"):
        HeadsFile.load(path)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "heads.json"
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match=r"heads\.json:"):
        HeadsFile.load(path)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        HeadsFile.load(tmp_path / "none.json")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "heads.json"
    made().save(path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        dataclasses.replace(made(), model={**MODEL, "id": object()}).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
