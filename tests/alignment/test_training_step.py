"""One training step: what it reads, its loss and gradients, batches without pairs, scores that are no numbers."""

from dataclasses import replace

import pytest
import torch

from headrank.alignment import ListwiseInput, PairSettings, mine_pairs
from headrank.alignment.adapters import checkpoint_activations, lora_layers
from headrank.data.batches import ListBatch, ListBatches, Shard, training_batches
from headrank.model import Head, PromptBuilder, ScorerSettings, passage_scores, read_head_scores
from headrank.model.last_layer import computed_layers
from tests.alignment.steps import PARTS, read_and_score, same, step, trained_values
from tests.alignment.toy import HEADS, LOSSES, PROMPT, attention_only, fit, toy_data, toy_list, toy_module
from tests.tiny import tiny_backbone


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
        z = torch.cat([passage_scores(scores, ScorerSettings(), weights) for scores in read])
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
        z = 4.0 * passage_scores(scores, ScorerSettings(), torch.tensor([1.0, 0.5, 2.0]))
        grades = torch.tensor([one.grades[i] for i in one.order])
        pairs = mine_pairs(z, grades, PairSettings(zone_weight=3.0))
        losses.append(LOSSES(ListwiseInput(z, grades, pairs))[0])
    torch.testing.assert_close(step(module, [*lists, one_grade]), torch.stack(losses).mean(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("per_batch", "ranks"), [(1, 2), (2, 2), (1, 4)])
def test_lists_count_the_same_in_every_process(fresh, per_batch, ranks):
    """Five lists in steps of four: DDP averages over processes, Lightning over a full step's batches, the last too."""
    module, lists = toy_module(fresh), [toy_list(n) for n in range(5)]

    def steps(per_batch, ranks):
        def batches(rank):
            shard = Shard(0, rank, ranks)
            return ListBatches(
                lists,
                plan=lambda lengths, shard: training_batches(lengths, per_batch, 0, shard, lists_per_step=4),
                read=lambda one, shard, again: one,
                shard=lambda: shard,
                weight=1 / per_batch,
            )

        each = 4 // (per_batch * ranks)
        parts = [[step(module, batch.lists, weight=batch.weight).item() for batch in batches(r)] for r in range(ranks)]
        means = [sum(losses) / ranks / each for losses in zip(*parts, strict=True)]
        return [sum(means[:each]), sum(means[each:])]

    alone = [step(module, [one]).item() for one in lists]
    found = steps(per_batch, ranks)
    assert found == pytest.approx(steps(1, 1), abs=1e-5)
    assert sum(found) == pytest.approx(sum(alone) / 4, abs=1e-5)


def test_a_batch_of_weight_0_is_read_and_counts_nowhere(fresh):
    module = toy_module(fresh)
    loss = step(module, [toy_list(0)], weight=0.0)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in module.trained.values() if p.grad is not None)
    sizes = []
    module.log = module.log_dict = lambda *_, batch_size, **__: sizes.append(batch_size)
    module._trainer.world_size = 2
    module.training_step(ListBatch([toy_list(0)], 0.0), 0)
    module.training_step(ListBatch([toy_list(0)], 0.5), 0)
    assert sizes == [0, 0, 2, 2], "times the processes: Lightning takes the mean of these whole numbers"


def test_layers_behind_the_deepest_head_are_not_computed(fresh):
    module = toy_module(fresh, [Head(1, 2)])
    calls = []
    fresh.model.layers[1].register_forward_hook(lambda *_: calls.append(1))
    fresh.model.layers[2].register_forward_hook(lambda *_: calls.append(2))
    step(module, [toy_list(0)])
    assert calls == [1]
    assert fresh.depth == 3
    with pytest.raises(KeyError), computed_layers(fresh.model, 1):
        raise KeyError  # the depth is put back
    assert fresh.depth == 3


def test_bf16_autocast_keeps_the_readout_in_fp32(fresh):
    module = toy_module(fresh, scorer=ScorerSettings(power=0.0, token_filter=True))
    lists = [toy_list(0)]
    ((exact,), _) = read_and_score(module, lists)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (read,), (z,) = read_and_score(module, lists)
        loss = step(module, lists)
    for value in (read.query, read.null, read.tokens.query, z, loss):
        assert value.dtype == torch.float32
    assert not torch.equal(read.query, exact.query)  # autocast was on
    torch.testing.assert_close(read.query, exact.query, rtol=0.2, atol=0.02)
    # nothing was rounded to bf16 on the way: sums and z are those of the fp32 readings
    member = read.tokens.passage[:, None] == torch.arange(6)
    torch.testing.assert_close(read.query, read.tokens.query @ member.float(), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(z, passage_scores(read, module.scorer, module.weights), rtol=0, atol=0)


@pytest.mark.parametrize("part", PARTS)
def test_a_batch_without_pairs_costs_nothing_and_reaches_all_parameters(fresh, part):
    module = toy_module(fresh, trained=attention_only(part), max_layer=3)
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
    nothing = ListBatches(
        lists, plan=lambda lengths, shard: [[0], [1]], read=lambda one, shard, again: one, shard=Shard
    )
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
