"""The training module: what it reads, what it trains, what it refuses, and that a killed run goes on as it was."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from headrank.alignment import ListwiseInput, PairSettings, mine_pairs
from headrank.alignment.adapters import MATRICES, TrainedSettings, lora_layers, prepare_trained
from headrank.alignment.fit import EarlyEnd
from headrank.alignment.optimizer import OptimizerSettings, make_optimizer, rate
from headrank.alignment.reader import checkpoint_activations, computed_layers
from headrank.alignment.validation import ValidationRecord, measure
from headrank.data.batches import Batch, Batches, Place
from headrank.evaluation import score_queries
from headrank.model import Head, PromptBuilder, ScorerSettings, read_head_scores
from tests.alignment.toy import HEADS, KEPT_CLOSE, LOSSES, PROMPT, fit, toy_data, toy_list, toy_module
from tests.tiny import tiny_backbone

PARTS = ("lora", "full", "head_weights")


@pytest.fixture
def fresh(tokenizer):
    """A random Qwen3 of three layers that may be changed."""
    return tiny_backbone("qwen3", tokenizer)


def trained_values(module):
    return {name: parameter.detach().clone() for name, parameter in module.trained.items()}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def step(module, lists, *, elsewhere=()):
    """One training step without a trainer; `elsewhere`: how many lists with pairs other processes have in it."""

    def reduce(count, reduce_op):
        assert reduce_op == "sum"
        return count + sum(elsewhere)

    strategy = SimpleNamespace(reduce=reduce)
    module._trainer = SimpleNamespace(world_size=1 + len(elsewhere), current_epoch=0, strategy=strategy)
    module.log = module.log_dict = lambda *_, **__: None
    return module.training_step(Batch(lists), 0)


# Reading


@pytest.mark.parametrize(
    ("family", "extra"), [("qwen3", {}), ("llama", {}), ("mistral", {"sliding_window": 16}), ("gemma3_text", {})]
)
def test_recomputed_layers_give_the_same_gradients(tokenizer, family, extra):
    backbone = tiny_backbone(family, tokenizer, **extra)
    builder = PromptBuilder(tokenizer, PROMPT)
    texts = [("tide", ["the tide", "", "rock and rock"]), ("salt and wind", ["salt", "wind and rain, and more"])]
    prompts = builder.build_many(texts, with_null=True)
    heads, weights = [Head(2, 1), Head(0, 3)], torch.tensor([1.0, 0.5])

    def run():
        backbone.model.zero_grad()
        read = read_head_scores(backbone, prompts, heads, query_rows="suffix")
        z = torch.cat([ScorerSettings().passage_scores(scores, weights) for scores in read])
        (z * torch.arange(1, len(z) + 1)).sum().backward()
        return z.detach(), {n: p.grad.clone() for n, p in backbone.model.named_parameters() if p.grad is not None}

    z, gradients = run()
    checkpoint_activations(backbone.model)
    backbone.model.train()
    other_z, other_gradients = run()
    torch.testing.assert_close(other_z, z, rtol=1e-5, atol=1e-6)
    assert other_gradients.keys() == gradients.keys()
    assert any("q_proj" in name for name in gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(other_gradients[name], gradient, rtol=1e-4, atol=1e-5 * gradient.abs().max().item())


def test_checkpointed_layers_are_computed_twice_in_training(fresh):
    module = toy_module(fresh, gradient_checkpointing=True)
    module.train()
    calls = []
    fresh.model.layers[0].self_attn.register_forward_hook(lambda *_: calls.append(1))
    loss = step(module, [toy_list(0)])
    assert len(calls) == 1
    loss.backward()
    assert len(calls) == 2


def test_the_loss_of_a_step_by_hand(fresh):
    """z in context order, of both tails, times the temperature; the mean over the lists that have two grades."""
    module = toy_module(fresh, weights=[1.0, 0.5, 2.0], pairs=PairSettings(zone_weight=3.0))
    lists = [toy_list(0), toy_list(1, docs=9)]
    one_grade = replace(toy_list(2), grades=(1,) * 6)
    assert lists[0].order != tuple(range(6))
    losses = []
    for one in lists:
        texts = [one.item.passages[i].text for i in one.order]
        prompt = PromptBuilder(fresh.tokenizer, PROMPT).build(one.item.query.text, texts, with_null=True)
        scores = read_head_scores(fresh, [prompt], HEADS)[0]
        z = 4.0 * ScorerSettings().passage_scores(scores, torch.tensor([1.0, 0.5, 2.0]))
        grades = torch.tensor([one.grades[i] for i in one.order])
        pairs = mine_pairs(z, grades, PairSettings(zone_weight=3.0))
        losses.append(LOSSES(ListwiseInput(z, grades, pairs))[0])
    torch.testing.assert_close(step(module, [*lists, one_grade]), torch.stack(losses).mean(), rtol=1e-5, atol=1e-6)


def test_lists_count_the_same_in_every_process(fresh):
    """DDP takes the mean over processes: 2 lists here and 1 there make a mean over 3."""
    module, lists = toy_module(fresh), [toy_list(n) for n in range(3)]
    whole = step(module, lists).item()
    parts = step(module, lists[:2], elsewhere=[1]).item(), step(module, lists[2:], elsewhere=[2]).item()
    assert sum(parts) / 2 == pytest.approx(whole, abs=1e-5)
    assert step(module, [], elsewhere=[0]).item() == 0


def test_layers_behind_the_deepest_head_are_not_computed(fresh):
    module = toy_module(fresh, [Head(1, 2)])
    calls = []
    fresh.model.layers[1].register_forward_hook(lambda *_: calls.append(1))
    fresh.model.layers[2].register_forward_hook(lambda *_: calls.append(2))
    step(module, [toy_list(0)])
    assert calls == [1]
    assert fresh.depth == 3
    with pytest.raises(KeyError), computed_layers(fresh, 1):
        raise KeyError  # the depth is put back
    assert fresh.depth == 3


def test_bf16_autocast_keeps_the_readout_in_fp32(fresh):
    module = toy_module(fresh, scorer=ScorerSettings(power=0.0, token_filter=True))
    lists = [toy_list(0)]
    exact = module.reader.read(lists, HEADS)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        read = module.reader.read(lists, HEADS)
        z = module.reader.passage_scores(lists, read, module.weights)[0]
        loss = step(module, lists)
    for value in (read[0].query, read[0].null, read[0].tokens.query, z, loss):
        assert value.dtype == torch.float32
    assert not torch.equal(read[0].query, exact.query)  # autocast was on
    torch.testing.assert_close(read[0].query, exact.query, rtol=0.2, atol=0.02)
    # nothing was rounded to bf16 on the way: sums and z are those of the fp32 readings
    member = read[0].tokens.passage[:, None] == torch.arange(6)
    torch.testing.assert_close(read[0].query, read[0].tokens.query @ member.float(), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(z, module.reader.scorer.passage_scores(read[0], module.weights), rtol=0, atol=0)


# What is trained


@pytest.mark.parametrize("part", PARTS)
def test_only_what_is_named_is_trained(fresh, tmp_path, part):
    module = toy_module(fresh, trained=TrainedSettings(part, rank=4))
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
    module = toy_module(tiny_backbone("qwen3", fresh.tokenizer), trained=TrainedSettings(part, rank=4), optimizer=rate)
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
    plain = toy_module(tiny_backbone("qwen3", tokenizer), trained=TrainedSettings("full"))
    assert torch.equal(step(toy_module(fresh), lists), step(plain, lists))


def test_head_weights_start_as_given(fresh):
    module = toy_module(fresh, weights=[2.0, 1.0, 0.1], trained=TrainedSettings("head_weights"))
    torch.testing.assert_close(module.weights, torch.tensor([2.0, 1.0, 0.1]))
    assert module.weights.requires_grad


@pytest.mark.parametrize("part", PARTS)
def test_reference_scores_are_the_start_models(fresh, tmp_path, part):
    lists = [toy_list(0), toy_list(1)]
    module = toy_module(fresh, losses=KEPT_CLOSE, trained=TrainedSettings(part))
    start = [z.clone() for z in module._reference(lists)]
    fit(module, toy_data(tmp_path / "toy"), 2, tmp_path)
    for z, reference in zip(start, module._reference(lists), strict=True):
        assert torch.equal(z, reference)
        assert not reference.requires_grad
    now = module.reader.passage_scores(lists, module.reader.read(lists, HEADS), module.weights)
    assert not torch.allclose(4.0 * now[0], start[0])


def test_parameters_behind_the_deepest_head_rest(fresh, tmp_path):
    """Trainable up to `max_layer`, with a gradient for DDP's sake, but neither decayed nor moved."""
    module = toy_module(
        fresh, [Head(0, 1)], max_layer=3, trained=TrainedSettings("full"), optimizer=OptimizerSettings(weight_decay=0.5)
    )
    assert {name.split(".")[2] for name in module.trained} == {"0", "1", "2"}
    assert len(module.idle) == 4
    step(module, [toy_list(0)]).backward()
    assert all(p.grad is not None and not p.grad.any() for p in module.idle)
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
    idle = {id(parameter) for parameter in module.idle}
    rest = {name for name, parameter in module.trained.items() if id(parameter) in idle}
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


# Validation


def test_validation_counts_each_query_once(fresh, tmp_path):
    module = toy_module(fresh)
    data = toy_data(tmp_path / "toy", validation_queries=4)
    trainer = fit(module, data, 1, tmp_path)
    lists = [one for batch in data.val_dataloader() for one in batch]
    assert len(lists) == 4
    with torch.no_grad():
        z = module.reader.passage_scores(lists, module.reader.read(lists, HEADS), module.weights)
    records = [ValidationRecord.from_scores(one, value, value.abs()) for one, value in zip(lists, z, strict=True)]
    rankings = {r.ranking.query_id: r.ranking for r in records}
    values = score_queries(
        rankings, {r.ranking.query_id: r.grades for r in records}, query_ids=list(rankings), metrics=["ndcg@10"]
    )
    expected = sum(values["ndcg@10"]) / 4
    assert float(trainer.callback_metrics["val/ndcg@10"]) == pytest.approx(expected, abs=1e-6)
    assert measure([*records, records[0], records[2]]) == measure(records)
    assert float(trainer.callback_metrics["val/selectivity"]) == pytest.approx(measure(records)["selectivity"])
    with pytest.raises(ValueError, match="stands for lists of different passages"):
        measure([records[0], replace(records[1], ranking=records[0].ranking)])
    assert measure([]) == {}


def test_validation_columns_are_the_candidates():
    one = toy_list(3)
    z = torch.arange(6.0)  # the later in context the better
    record = ValidationRecord.from_scores(one, z, z)
    best = one.item.passages[one.order[-1]].id
    assert record.ranking.passage_ids[0] == best == record.context.passage_ids[-1]
    assert record.context.scores == tuple(range(6))
    fused = ValidationRecord.from_scores(one, torch.zeros(6), z, fusion_alpha=1.0)
    assert fused.ranking.passage_ids == one.item.passage_ids


# Checkpoints


class Kill(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


class Losses(Callback):
    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.values.append(float(outputs["loss"]))


def checkpoints(folder, **settings):
    # With a monitor, `last` is written only where the measure got better (Lightning 2.6): no way to resume.
    return ModelCheckpoint(folder, save_last=True, **settings)


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_run_goes_on_bit_for_bit(tokenizer, tmp_path, part):
    def make():
        settings = {"trained": TrainedSettings(part), "losses": KEPT_CLOSE, "pairs": PairSettings(mining="random")}
        settings["gradient_checkpointing"] = part == "full"
        return toy_module(tiny_backbone("qwen3", tokenizer), **settings), toy_data(tmp_path / "toy")

    straight, losses = make()[0], Losses()
    fit(straight, toy_data(tmp_path / "toy"), 4, tmp_path, callbacks=[losses])
    killed, before = make()[0], Losses()
    callbacks = [before, Kill(2), checkpoints(tmp_path / part)]
    with pytest.raises(SystemExit):
        fit(killed, toy_data(tmp_path / "toy"), 4, tmp_path, callbacks=callbacks, enable_checkpointing=True)
    assert not same(trained_values(killed), trained_values(straight))
    resumed, after = make()[0], Losses()
    callbacks = [after, checkpoints(tmp_path / part)]
    last = tmp_path / part / "last.ckpt"
    trainer = fit(
        resumed, toy_data(tmp_path / "toy"), 4, tmp_path, ckpt_path=last, callbacks=callbacks, enable_checkpointing=True
    )
    assert trainer.current_epoch == 4
    assert len(after.values) == 8
    assert before.values + after.values == losses.values
    assert same(trained_values(resumed), trained_values(straight))


def test_a_training_that_stopped_early_does_not_go_on_when_it_is_started_again(tokenizer, tmp_path):
    def again(ckpt_path=None):
        module, record = toy_module(tiny_backbone("qwen3", tokenizer), optimizer=OptimizerSettings(lr=1e-12)), Losses()
        stop = EarlyEnd("val/ndcg@10", mode="max", patience=1)
        fit(module, toy_data(tmp_path / "toy"), 9, tmp_path, ckpt_path=ckpt_path,
            callbacks=[record, stop, checkpoints(tmp_path / "run")], enable_checkpointing=True)  # fmt: skip
        return record.values

    assert len(again()) == 8  # two epochs of four steps: nothing is learnt, so that the second is no better
    assert again(tmp_path / "run/last.ckpt") == []


@pytest.fixture
def checkpoint(fresh, tmp_path):
    """A finished run's checkpoint and its module."""
    module = toy_module(fresh, trained=TrainedSettings(rank=4))
    callbacks = [checkpoints(tmp_path / "run", monitor="val/ndcg@10", mode="max")]
    fit(module, toy_data(tmp_path / "toy"), 1, tmp_path, callbacks=callbacks, enable_checkpointing=True)
    return tmp_path / "run" / "last.ckpt", module


def test_a_checkpoint_holds_what_was_trained_and_plain_values(checkpoint, tokenizer):
    path, module = checkpoint
    content = torch.load(path, weights_only=True)
    assert same(content["state_dict"], trained_values(module))
    assert content["headrank"]["now"]["heads"] == [[1, 2], [0, 3], [1, 0]]
    other = toy_module(tiny_backbone("qwen3", tokenizer), trained=TrainedSettings(rank=4))
    other.load_trained(path)
    assert same(trained_values(other), trained_values(module))


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ({"layers": 3, "vocab_seed": 1}, {}, "weights: "),
        (
            {},
            {"heads": HEADS[:2]},
            r"heads: \[\[1, 2\], \[0, 3\], \[1, 0\]\] in the checkpoint, \[\[1, 2\], \[0, 3\]\]",
        ),
        ({}, {"max_layer": 3}, "depth: 2 in the checkpoint, 3 here"),
        ({}, {"trained": TrainedSettings("full")}, "trained: "),
        ({}, {"trained": TrainedSettings(rank=8)}, "trained: .*'rank': 4.*'rank': 8"),
        ({}, {"scorer": ScorerSettings(power=1.0)}, "scorer: "),
        ({}, {"weights": [1.0, 1.0, 2.0]}, "head_weights: "),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_before_training(
    checkpoint, tokenizer, tmp_path, model, settings, message
):
    backbone = tiny_backbone("qwen3", tokenizer)
    if model:
        with torch.no_grad():
            backbone.model.layers[1].mlp.up_proj.weight[0, 0] += 1e-3
    module = toy_module(backbone, **{"trained": TrainedSettings(rank=4), **settings})
    before, losses = trained_values(module), Losses()
    with pytest.raises(ValueError, match=f"does not belong to this model.*{message}"):
        fit(module, toy_data(tmp_path / "toy"), 2, tmp_path, ckpt_path=checkpoint[0], callbacks=[losses])
    assert not losses.values
    assert same(before, trained_values(module))


def test_a_checkpoint_with_other_tensors_is_refused(checkpoint, tokenizer):
    module = toy_module(tiny_backbone("qwen3", tokenizer), trained=TrainedSettings(rank=4))
    content = torch.load(checkpoint[0], weights_only=True)
    name = next(iter(content["state_dict"]))
    lacking = {**content, "state_dict": {n: t for n, t in content["state_dict"].items() if n != name}}
    with pytest.raises(ValueError, match="lacks 1 trained tensors"):
        module.on_load_checkpoint(lacking)
    with pytest.raises(ValueError, match=r"has shape \(2, 2\), wanted \(4, 32\)"):
        module.on_load_checkpoint({**content, "state_dict": {**content["state_dict"], name: torch.ones(2, 2)}})
    with pytest.raises(ValueError, match="holds 1 that are not trained here"):
        module.on_load_checkpoint({**content, "state_dict": {**content["state_dict"], "more": torch.ones(2)}})
    with pytest.raises(ValueError, match="not one of headrank's"):
        module.on_load_checkpoint({"state_dict": {}})


# Bad input


@pytest.mark.parametrize("part", PARTS)
def test_a_batch_without_pairs_costs_nothing_and_reaches_all_parameters(fresh, part):
    module = toy_module(fresh, trained=TrainedSettings(part), max_layer=3)
    nothing = [replace(toy_list(n), grades=(1,) * 6) for n in range(2)]
    for batch in (nothing, []):
        module.zero_grad()
        loss = step(module, batch)
        assert loss.item() == 0
        loss.backward()
        assert all(p.grad is not None and not p.grad.any() for p in module.trained.values())


def test_an_epoch_without_pairs_changes_nothing(fresh, tmp_path, monkeypatch):
    data = toy_data(tmp_path / "toy")
    lists = [replace(toy_list(n), grades=(1,) * 6) for n in range(2)]
    nothing = Batches(lists, plan=lambda lengths, place: [[0], [1]], read=lambda one, place: one, place=Place)
    monkeypatch.setattr(data, "train_dataloader", lambda: nothing)
    module = toy_module(fresh)
    before = trained_values(module)
    trainer = fit(module, data, 1, tmp_path)
    assert trainer.global_step == 2
    assert same(before, trained_values(module))


def test_a_nan_score_names_the_query(fresh, tmp_path):
    module = toy_module(fresh)
    with torch.no_grad():
        next(iter(lora_layers(fresh.model).values())).lora_B["default"].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="query 'q0': z is nan at context position 0"):
        step(module, [toy_list(0)])
    with pytest.raises(ValueError, match=r"query 'q\d': z is nan"):
        fit(module, toy_data(tmp_path / "toy"), 1, tmp_path)


def test_what_does_not_fit_is_refused(fresh, tokenizer):
    with pytest.raises(ValueError, match=r"heads 3-0 \(layer-head\) are outside of a model of 3 layers"):
        toy_module(fresh, [Head(3, 0)])
    with pytest.raises(ValueError, match=r"heads 2-0 .* of 2 layers"):
        toy_module(fresh, [Head(2, 0)], max_layer=2)
    with pytest.raises(ValueError, match="max_layer is 4, the backbone was loaded with 3"):
        toy_module(fresh, max_layer=4)
    for weights in ([1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [1.0, float("nan"), 1.0]):
        with pytest.raises(ValueError, match="for 3 heads, wanted one each"):
            toy_module(fresh, weights=weights)
    with pytest.raises(ValueError, match="temperature is 0"):
        toy_module(fresh, temperature=0.0)
    for settings in ({"part": "all"}, {"rank": 0}, {"alpha": 0.0}):
        with pytest.raises(ValueError, match=r"trained\."):
            TrainedSettings(**settings)
    for settings in ({"lr": 0.0}, {"warmup_fraction": 1.5}, {"betas": (0.9, 1.0)}, {"weight_decay": -1.0}):
        with pytest.raises(ValueError, match=r"optimizer\."):
            OptimizerSettings(**settings)
    toy_module(fresh)
    with pytest.raises(ValueError, match="has adapters already"):
        toy_module(fresh)
    half = tiny_backbone("qwen3", tokenizer)
    half.model.bfloat16()
    with pytest.raises(ValueError, match=r"'full' on weights of torch\.bfloat16"):
        prepare_trained(half.model, 2, TrainedSettings("full"))
    lora = prepare_trained(half.model, 2, TrainedSettings())
    assert {p.dtype for p in lora.values()} == {torch.float32}
    fused = tiny_backbone("phi3", tokenizer)
    with pytest.raises(ValueError, match=r"Phi3Model has no layers\.0\.self_attn\.q_proj"):
        toy_module(fused)
    with pytest.raises(ValueError, match=r"trained.matrices are \['q_proj', 'w_proj'\]"):
        TrainedSettings(matrices=("q_proj", "w_proj"))


def test_nothing_to_train_is_refused(fresh, tmp_path):
    module = toy_module(fresh)
    module.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        fit(module, toy_data(tmp_path / "toy"), 1, tmp_path)
