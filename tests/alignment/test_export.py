"""The exported folder: the scores of the last validation, without adapters, trainer or layers that are not needed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from headrank import Reranker
from headrank.alignment.adapters import MATRICES, READ_LAST, TrainedSettings
from headrank.alignment.callbacks import ReselectHeads
from headrank.alignment.checkpoint import KEY
from headrank.alignment.export import aligned_heads, export_aligned
from headrank.alignment.optimizer import OptimizerSettings
from headrank.heads import FusionFit, GivenHeads, HeadsFile
from headrank.model import Head, Scorer, ScorerSettings, weights_fingerprint
from tests.alignment.toy import PROMPT, fit, toy_data, toy_module
from tests.tiny import tiny_backbone

HEADS = (Head(1, 2), Head(0, 3))


def trained(tokenizer, tmp_path, *, callbacks=(), heads=HEADS, **settings):
    """A module after two epochs, in first-stage order, with the records of its last validation."""
    module = toy_module(tiny_backbone("qwen3", tokenizer, layers=4), heads, **settings)
    data = toy_data(tmp_path / "toy", shuffle_candidates=False)
    seen = []
    measured = module.on_validation_epoch_end

    def keep():
        seen[:] = list(module._records)
        measured()

    module.on_validation_epoch_end = keep
    fit(module, data, 2, tmp_path, callbacks=list(callbacks))
    return module, data, seen


@pytest.mark.parametrize(
    ("part", "matrices"),
    [
        ("lora", READ_LAST),
        ("full", READ_LAST),
        ("head_weights", READ_LAST),
        ("lora", tuple(MATRICES)),
        ("full", tuple(MATRICES)),
    ],
)
def test_the_scores_are_those_of_the_last_validation(tokenizer, tmp_path, part, matrices):
    settings = {
        "trained": TrainedSettings(part, matrices),
        "weights": [0.5, 2.0],
        "optimizer": OptimizerSettings(lr=0.02),
    }
    module, data, seen = trained(tokenizer, tmp_path, **settings)
    heads = export_aligned(module, tmp_path / "out")
    reranker = Reranker.from_pretrained(tmp_path / "out", device="cpu")
    items = {one.item.query.id: one.item for one in data.validation_lists}
    assert len(seen) == 2
    start = Scorer(tiny_backbone("qwen3", tokenizer, layers=4), module.heads, weights=[0.5, 2.0], prompt=PROMPT)
    for record in seen:
        item = items[record.ranking.query_id]
        found = {r.id: r.score for r in reranker.rank(item.query.text, item.passages)}
        wanted = dict(zip(record.context.passage_ids, record.context.scores, strict=True))
        assert found == pytest.approx(wanted, abs=1e-5)
        before = start.score([item])[0].context.scores
        assert max(abs(a - b) for a, b in zip(before, record.context.scores, strict=True)) > 1e-3  # it was trained
    assert heads.weights == pytest.approx(module.weights.tolist())
    assert (part == "head_weights") == (heads.weights != pytest.approx((0.5, 2.0)))


def test_the_folder_is_a_plain_model_cut_to_the_heads(tokenizer, tmp_path):
    origin = {"criterion": {"name": "contrastive"}, "query_ids": ["a", "b"], "seeds": [4]}
    module, _, _ = trained(tokenizer, tmp_path, origin=origin)
    export_aligned(module, tmp_path / "out")
    model = AutoModel.from_pretrained(tmp_path / "out")
    assert (model.config.num_hidden_layers, len(model.layers)) == (2, 2)
    names = load_file(tmp_path / "out" / "model.safetensors").keys()
    assert names == tiny_backbone("qwen3", tokenizer, layers=2).model.state_dict().keys()
    assert not list(tmp_path.glob(".*"))
    heads = HeadsFile.load(tmp_path / "out" / "heads.json")
    weights = weights_fingerprint(tmp_path / "out", depth=2)  # those that were trained
    assert heads.model == {
        "id": "tiny-qwen3",
        "revision": None,
        "layers": 4,
        "heads_per_layer": 4,
        "aligned": "lora",
        "weights": weights,
    }
    assert heads == replace(aligned_heads(module), model=heads.model)
    assert (heads.criterion, heads.query_ids, heads.seeds) == ({"name": "contrastive"}, ("a", "b"), (4,))
    assert Reranker.from_pretrained(tmp_path / "out", device="cpu").backbone.layers == 4
    text = json.loads((tmp_path / "out" / "config.json").read_text())
    assert text["headrank_full_layers"] == 4


def test_the_module_goes_on_as_it_was(tokenizer, tmp_path):
    module, _, _ = trained(tokenizer, tmp_path)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    export_aligned(module, tmp_path / "out")
    assert module.backbone.depth == 4
    assert before.keys() == module.state_dict().keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_the_last_selection_and_its_depth_are_exported(tokenizer, tmp_path):
    criterion = GivenHeads(heads=[[2, 1], [0, 3]])
    callbacks = [ReselectHeads(criterion, reselect_every=0)]
    module, data, seen = trained(tokenizer, tmp_path, callbacks=callbacks, max_layer=4)
    heads = export_aligned(module, tmp_path / "out")
    assert heads.heads == (Head(0, 3), Head(2, 1))
    assert heads.depth == 3
    assert heads.criterion["name"] == "given"
    assert heads.query_ids == tuple(x.item.query.id for x in data.training_lists)
    reranker = Reranker.from_pretrained(tmp_path / "out", device="cpu")
    assert reranker.backbone.depth == 3
    item = next(x.item for x in data.validation_lists if x.item.query.id == seen[0].ranking.query_id)
    scores = [r.score for r in reranker.rank(item.query.text, item.passages)]
    assert scores == pytest.approx(list(seen[0].ranking.scores), abs=1e-5)


def test_half_precision_weights_stay_so(tokenizer, tmp_path):
    backbone = tiny_backbone("llama", tokenizer)
    backbone.model.bfloat16()
    module = toy_module(backbone)
    with torch.no_grad():
        for name, parameter in module.trained.items():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    export_aligned(module, tmp_path / "out")
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}
    layer = backbone.model.layers[1].self_attn.k_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    merged = layer.base_layer.weight.float() + 2.0 * b @ a
    assert torch.equal(saved["layers.1.self_attn.k_proj.weight"], merged.detach().bfloat16())


def test_a_folder_is_replaced_only_when_told_and_only_by_a_whole_one(tokenizer, tmp_path, monkeypatch):
    module = toy_module(tiny_backbone("qwen3", tokenizer))
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old").write_text("kept")
    with pytest.raises(FileExistsError, match="overwrite"):
        export_aligned(module, folder)

    def fail(self, path: Path):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(HeadsFile, "save", fail)
        with pytest.raises(OSError, match="disk full"):
            export_aligned(module, folder, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (folder / "old").read_text() == "kept"
    export_aligned(module, folder, overwrite=True)
    assert not (folder / "old").exists()
    assert (folder / "heads.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_probability_is_fitted_on_the_held_out_lists(tokenizer, tmp_path):
    module, data, seen = trained(tokenizer, tmp_path)
    heads = export_aligned(module, tmp_path / "out", thresholds={"toy": 1})
    scores = [list(record.ranking.scores) for record in sorted(seen, key=lambda record: record.ranking.query_id)]
    assert [sorted(z, reverse=True) for z, *_ in module.origin["held_out_scores"]] == scores
    assert heads.probability is not None
    assert (heads.probability.thresholds, heads.probability.protocol) == ({"toy": 1}, "held_out")
    assert heads.probability.lists == len(data.validation_lists)
    assert heads.probability.passages == sum(len(one.item) for one in data.validation_lists)
    assert heads.probability.relevant == sum(
        grade >= one.relevance_threshold for one in data.validation_lists for grade in one.grades
    )
    assert HeadsFile.load(tmp_path / "out" / "heads.json") == heads
    assert aligned_heads(module).probability is None  # the data sets are unknown


def test_a_fusion_weight_is_fitted_again_on_enough_held_out_lists(tokenizer, tmp_path, monkeypatch):
    fused, data, _ = trained(tokenizer, tmp_path, scorer=ScorerSettings(fusion=0.5))
    start = FusionFit(0.5, ((0.0, 0.1), (0.5, 0.9)), 0.5, lists=30, protocol="cross_fitted")
    kept = aligned_heads(fused, {"toy": 1}, start)
    assert (kept.scorer.fusion, kept.fusion and kept.fusion.curve) == (0.5, start.curve)
    assert kept.fusion is not None
    assert kept.fusion.protocol == "before_alignment"
    assert kept.used_probability is not None
    assert kept.used_probability.protocol == "held_out"
    assert kept.used_probability != kept.probability  # fitted on the fused scores
    monkeypatch.setattr("headrank.heads.fusion.MIN_LISTS", len(data.validation_lists))
    again = aligned_heads(fused, {"toy": 1}, start)
    assert again.fusion is not None
    assert (again.fusion.protocol, again.fusion.lists) == ("held_out", len(data.validation_lists))
    assert again.scorer.fusion == again.fusion.weight
    assert aligned_heads(fused, {"toy": 1}).scorer.fusion == 0.5  # set, not fitted
    assert aligned_heads(fused, {"toy": 1}).used_probability is None


def test_training_lists_give_no_probability(tokenizer):
    unvalidated = toy_module(tiny_backbone("qwen3", tokenizer, layers=4), HEADS)
    assert aligned_heads(unvalidated, {"toy": 1}).probability is None


def test_a_checkpoint_holds_the_scores_of_its_validation(tokenizer, tmp_path):
    """So the export of the best epoch needs no data and no forward pass."""
    module, *_ = trained(tokenizer, tmp_path)
    checkpoint: dict = {"state_dict": {}}
    module.on_save_checkpoint(checkpoint)
    fresh = toy_module(tiny_backbone("qwen3", tokenizer, layers=4), HEADS)
    fresh.on_load_checkpoint({KEY: checkpoint[KEY]})
    assert aligned_heads(fresh, {"toy": 1}).probability == aligned_heads(module, {"toy": 1}).probability is not None
