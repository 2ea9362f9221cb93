"""A killed or stopped training goes on as it was; a checkpoint of something else is refused."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from headrank.alignment import PairSettings
from headrank.alignment.optimizer import OptimizerSettings
from headrank.alignment.training import ResumableEarlyStopping
from headrank.model import ScorerSettings
from tests.alignment.steps import PARTS, Kill, same, trained_values
from tests.alignment.toy import HEADS, KEPT_CLOSE, attention_only, fit, toy_data, toy_module
from tests.tiny import tiny_backbone


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
        settings = {"trained": attention_only(part), "losses": KEPT_CLOSE, "pairs": PairSettings(mining="random")}
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
        stop = ResumableEarlyStopping("val/ndcg@10", mode="max", patience=1)
        fit(module, toy_data(tmp_path / "toy"), 9, tmp_path, ckpt_path=ckpt_path,
            callbacks=[record, stop, checkpoints(tmp_path / "run")], enable_checkpointing=True)  # fmt: skip
        return record.values

    assert len(again()) == 8  # two epochs of four steps: nothing is learnt, so that the second is no better
    assert again(tmp_path / "run/last.ckpt") == []


@pytest.fixture
def checkpoint(fresh, tmp_path):
    """A finished run's checkpoint and its module."""
    module = toy_module(fresh, trained=attention_only(rank=4))
    callbacks = [checkpoints(tmp_path / "run", monitor="val/ndcg@10", mode="max")]
    fit(module, toy_data(tmp_path / "toy"), 1, tmp_path, callbacks=callbacks, enable_checkpointing=True)
    return tmp_path / "run" / "last.ckpt", module


def test_a_checkpoint_holds_what_was_trained_and_plain_values(checkpoint, tokenizer):
    path, module = checkpoint
    content = torch.load(path, weights_only=True)
    assert same(content["state_dict"], trained_values(module))
    assert content["headrank"]["now"]["heads"] == [[1, 2], [0, 3], [1, 0]]
    other = toy_module(tiny_backbone("qwen3", tokenizer), trained=attention_only(rank=4))
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
        ({}, {"trained": attention_only("full")}, "trained: "),
        ({}, {"trained": attention_only(rank=8)}, "trained: .*'rank': 4.*'rank': 8"),
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
    module = toy_module(backbone, **{"trained": attention_only(rank=4), **settings})
    before, losses = trained_values(module), Losses()
    with pytest.raises(ValueError, match=message):
        fit(module, toy_data(tmp_path / "toy"), 2, tmp_path, ckpt_path=checkpoint[0], callbacks=[losses])
    assert not losses.values
    assert same(before, trained_values(module))


def test_a_checkpoint_with_other_tensors_is_refused(checkpoint, tokenizer):
    module = toy_module(tiny_backbone("qwen3", tokenizer), trained=attention_only(rank=4))
    content = torch.load(checkpoint[0], weights_only=True)
    name = next(iter(content["state_dict"]))
    lacking = {**content, "state_dict": {n: t for n, t in content["state_dict"].items() if n != name}}
    with pytest.raises(ValueError, match="lacks 1 trained tensors"):
        module.on_load_checkpoint(lacking)
    with pytest.raises(ValueError, match=r"has shape \(2, 2\), expected \(4, 32\)"):
        module.on_load_checkpoint({**content, "state_dict": {**content["state_dict"], name: torch.ones(2, 2)}})
    with pytest.raises(ValueError, match="holds 1 that are not trained here"):
        module.on_load_checkpoint({**content, "state_dict": {**content["state_dict"], "more": torch.ones(2)}})
    with pytest.raises(ValueError, match="model and heads"):
        module.on_load_checkpoint({"state_dict": {}})
