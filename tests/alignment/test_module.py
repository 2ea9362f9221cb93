"""The training module: what is trained, how it is validated, what is refused."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from headrank.alignment.adapters import MATRICES, TrainedSettings, prepare_trained
from headrank.alignment.optimizer import OptimizerSettings, make_optimizer, rate
from headrank.alignment.validation import ValidationRecord, measure
from headrank.evaluation import score_queries
from headrank.model import Head
from headrank.ranking import ContextScores, Ranking
from tests.alignment.steps import PARTS, read_and_score, step, trained_values
from tests.alignment.toy import KEPT_CLOSE, attention_only, fit, toy_data, toy_list, toy_module
from tests.tiny import tiny_backbone


@pytest.mark.parametrize("part", PARTS)
def test_only_what_is_named_is_trained(fresh, tmp_path, part):
    module = toy_module(fresh, trained=attention_only(part, rank=4))
    names = {
        "lora": {
            f"model.layers.{i}.self_attn.{p}_proj.lora_{x}.default.weight" for i in (0, 1) for p in "qk" for x in "AB"
        },
        "full": {f"model.layers.{i}.self_attn.{p}_proj.weight" for i in (0, 1) for p in "qk"},
        "head_weights": {"raw_weights"},
    }[part]
    assert set(module.trained) == names == {n for n, p in module.named_parameters() if p.requires_grad}
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    step(module, [toy_list(0)]).backward()
    assert all(parameter.grad is not None for parameter in module.trained.values())
    rate = OptimizerSettings(lr=0.1 if part == "head_weights" else 0.02)
    module = toy_module(tiny_backbone("qwen3", fresh.tokenizer), trained=attention_only(part, rank=4), optimizer=rate)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())  # seeded adapters
    data = toy_data(tmp_path / "toy")
    fit(module, data, 4, tmp_path)
    changed = {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == names
    lists = list(data.training_lists)
    after = step(module, lists).item()
    module.load_state_dict(before)
    assert after < (1.0 if part == "head_weights" else 0.9) * step(module, lists).item()


def test_adapters_start_as_a_change_of_nothing(fresh, tokenizer):
    lists = [toy_list(0)]
    plain = toy_module(tiny_backbone("qwen3", tokenizer), trained=attention_only("full"))
    assert torch.equal(step(toy_module(fresh), lists), step(plain, lists))


def test_head_weights_start_as_given(fresh):
    module = toy_module(fresh, weights=[2.0, 1.0, 0.1], trained=attention_only("head_weights"))
    torch.testing.assert_close(module.weights, torch.tensor([2.0, 1.0, 0.1]))
    assert module.weights.requires_grad


@pytest.mark.parametrize("part", PARTS)
def test_reference_scores_are_the_start_models(fresh, tmp_path, part):
    lists = [toy_list(0), toy_list(1)]
    module = toy_module(fresh, losses=KEPT_CLOSE, trained=attention_only(part))
    start = [z.clone() for z in module._reference(lists)]
    fit(module, toy_data(tmp_path / "toy"), 2, tmp_path)
    for z, reference in zip(start, module._reference(lists), strict=True):
        assert torch.equal(z, reference)
        assert not reference.requires_grad
    _, now = read_and_score(module, lists)
    assert not torch.allclose(4.0 * now[0], start[0])


def test_parameters_behind_the_deepest_head_rest(fresh, tmp_path):
    """Trainable up to `max_layer`, with a gradient for DDP's sake, but neither decayed nor moved."""
    module = toy_module(
        fresh, [Head(0, 1)], max_layer=3, trained=attention_only("full"), optimizer=OptimizerSettings(weight_decay=0.5)
    )
    assert {name.split(".")[2] for name in module.trained} == {"0", "1", "2"}
    assert len(module.unreached_parameters) == 4
    step(module, [toy_list(0)]).backward()
    assert all(p.grad is not None and not p.grad.any() for p in module.unreached_parameters)
    before = trained_values(module)
    fit(module, toy_data(tmp_path / "toy"), 1, tmp_path)
    moved = {name for name, value in trained_values(module).items() if not torch.equal(value, before[name])}
    assert moved == {f"model.layers.0.self_attn.{p}_proj.weight" for p in "qk"}


@pytest.mark.parametrize("part", ["lora", "full"])
def test_values_and_mlp_are_trained_below_the_deepest_layer(fresh, tmp_path, part):
    """In the layer of the deepest head only q and k bear on what is read."""
    settings = TrainedSettings(part, tuple(MATRICES), rank=4)
    module = toy_module(fresh, [Head(1, 1), Head(0, 2)], trained=settings, max_layer=3)
    layer_of = {name: int(name.split(".")[2]) for name in module.trained}
    assert {name.split(".")[4] for name, layer in layer_of.items() if layer < 2} == set(MATRICES)
    assert {name.split(".")[4] for name, layer in layer_of.items() if layer == 2} == {"q_proj", "k_proj"}
    unreached = {id(parameter) for parameter in module.unreached_parameters}
    rest = {name for name, parameter in module.trained.items() if id(parameter) in unreached}
    expected = {
        n for n, layer in layer_of.items() if layer == 2 or (layer == 1 and n.split(".")[4] not in "q_proj k_proj")
    }
    assert rest == expected
    loss = step(module, [toy_list(0)])
    loss.backward()
    dead = {name for name, p in module.trained.items() if not p.grad.any()}
    assert dead - {name for name in dead if ".lora_A." in name} == {n for n in rest if ".lora_A." not in n}
    before = trained_values(module)
    fit(module, toy_data(tmp_path / "toy"), 2, tmp_path)
    moved = {name for name, value in trained_values(module).items() if not torch.equal(value, before[name])}
    assert moved == set(module.trained) - rest


def test_no_dropout_in_training(tokenizer):
    backbone = tiny_backbone("qwen3", tokenizer, attention_dropout=0.5)
    module = toy_module(backbone)
    module.train()
    assert torch.equal(step(module, [toy_list(0)]), step(module, [toy_list(0)]))


def test_the_rate():
    settings = OptimizerSettings(warmup_fraction=0.2)
    rates = [rate(step, 10, settings) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)
    assert all(a > b > 0 for a, b in pairwise(rates[2:]))
    flat = OptimizerSettings(warmup_fraction=0.0, cosine=False)
    assert [rate(step, 10, flat) for step in (0, 9)] == [1.0, 1.0]
    matrix, vector = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    optimizer, _ = make_optimizer([matrix, vector], OptimizerSettings(weight_decay=0.1), 10)
    assert [(g["params"][0] is matrix, g["weight_decay"]) for g in optimizer.param_groups] == [
        (True, 0.1),
        (False, 0.0),
    ]


def test_validation_counts_each_query_once(fresh, tmp_path):
    module = toy_module(fresh)
    data = toy_data(tmp_path / "toy", validation_queries=4)
    trainer = fit(module, data, 1, tmp_path)
    lists = [one for batch in data.val_dataloader() for one in batch]
    assert len(lists) == 4
    with torch.no_grad():
        _, z = read_and_score(module, lists)
    records = [ValidationRecord.from_scores(one, value, value.abs()) for one, value in zip(lists, z, strict=True)]
    rankings = {r.ranking.query_id: r.ranking for r in records}
    values = score_queries(
        rankings, {r.ranking.query_id: r.grades for r in records}, query_ids=list(rankings), metrics=["ndcg@10"]
    )
    expected = sum(values["ndcg@10"]) / 4
    assert float(trainer.callback_metrics["val/ndcg@10"]) == pytest.approx(expected, abs=1e-6)
    assert measure([*records, records[0], records[2]]) == measure(records)
    assert float(trainer.callback_metrics["val/selectivity"]) == pytest.approx(measure(records)["selectivity"])
    with pytest.raises(ValueError, match=f"validation query '{records[0].ranking.query_id}'"):
        measure([records[0], replace(records[1], ranking=records[0].ranking)])
    assert measure([]) == {}


def test_selectivity_takes_each_query_by_the_threshold_of_its_own_data_set():
    """Eight passages, grade 1 at context position 2, ranked first: relevant under threshold 1, not under 2."""
    ids = tuple(f"d{i}" for i in range(8))
    scores = tuple(float(i == 2) for i in range(8))

    def record(query_id, threshold):
        ranking = Ranking.from_scores(query_id, ids, scores)
        grades = {passage_id: int(passage_id == "d2") + 2 * int(passage_id == "d3") for passage_id in ids}
        return ValidationRecord(ranking, ContextScores(query_id, ids, scores, scores), grades, threshold)

    # in the zone (positions 2 to 5) the top quartile holds d2 alone; d0 is outside
    one, two = record("one", 1), record("two", 2)
    assert measure([one])["selectivity"] == pytest.approx(1 / 2 - 0 / 2)
    assert measure([two])["selectivity"] == pytest.approx(0 / 1 - 1 / 3)
    assert measure([one, two])["selectivity"] == pytest.approx(1 / 3 - 1 / 5)


def test_validation_columns_are_the_candidates():
    one = toy_list(3)
    z = torch.arange(6.0)  # the later in context the better
    record = ValidationRecord.from_scores(one, z, z)
    best = one.item.passages[one.order[-1]].id
    assert record.ranking.passage_ids[0] == best == record.context.passage_ids[-1]
    assert record.context.scores == tuple(range(6))
    fused = ValidationRecord.from_scores(one, torch.zeros(6), z, fusion=1.0)
    assert fused.ranking.passage_ids == one.item.passage_ids
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=str(wrong)):
            ValidationRecord.from_scores(one, torch.full((6,), wrong), z, fusion=1.0)


def test_what_does_not_fit_is_refused(fresh, tokenizer):
    with pytest.raises(ValueError, match=r"heads 3-0 \(layer-head\) are outside of a model of 3 layers"):
        toy_module(fresh, [Head(3, 0)])
    with pytest.raises(ValueError, match=r"heads 2-0 .* of 2 layers"):
        toy_module(fresh, [Head(2, 0)], max_layer=2)
    with pytest.raises(ValueError, match=r"max_layer is 4, .* 3 layers"):
        toy_module(fresh, max_layer=4)
    for weights in ([1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [1.0, float("nan"), 1.0]):
        with pytest.raises(ValueError, match="for 3 heads"):
            toy_module(fresh, weights=weights)
    with pytest.raises(ValueError, match="temperature is 0"):
        toy_module(fresh, temperature=0.0)
    for settings in ({"part": "all"}, {"rank": 0}, {"alpha": 0.0}):
        with pytest.raises(ValueError, match=r"TrainedSettings\."):
            TrainedSettings(**settings)
    for settings in ({"lr": 0.0}, {"warmup_fraction": 1.5}, {"betas": (0.9, 1.0)}, {"weight_decay": -1.0}):
        with pytest.raises(ValueError, match=r"OptimizerSettings\."):
            OptimizerSettings(**settings)
    toy_module(fresh)
    with pytest.raises(ValueError, match="has adapters already"):
        toy_module(fresh)
    half = tiny_backbone("qwen3", tokenizer)
    half.model.bfloat16()
    with pytest.raises(ValueError, match=r"'full' on weights of torch\.bfloat16"):
        prepare_trained(half.model, 2, attention_only("full"))
    lora = prepare_trained(half.model, 2, attention_only())
    assert {p.dtype for p in lora.values()} == {torch.float32}
    fused = tiny_backbone("phi3", tokenizer)
    with pytest.raises(ValueError, match=r"Phi3Model .*layers\.0\.self_attn\.q_proj"):
        toy_module(fused)
    with pytest.raises(ValueError, match=r"matrices\.1 is 'w_proj'"):
        TrainedSettings(matrices=("q_proj", "w_proj"))


def test_nothing_to_train_is_refused(fresh, tmp_path):
    module = toy_module(fresh)
    module.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        fit(module, toy_data(tmp_path / "toy"), 1, tmp_path)
