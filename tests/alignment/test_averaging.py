"""The average of the weights along training: its formula, who sees it, and that a killed run continues with it."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from headrank.alignment.averaging import WeightAverage
from headrank.alignment.callbacks import ReselectHeads
from headrank.heads import EntropyRegularized, read_head_table, select_heads
from headrank.model import all_heads
from tests.alignment.steps import Kill, same, trained_values
from tests.alignment.toy import KEPT_CLOSE, attention_only, fit, toy_data, toy_module
from tests.tiny import tiny_backbone

DECAY = 0.75


class Watch(Callback):
    """The raw weights after each optimizer step, and those that each validation and each epoch's end sees."""

    def __init__(self):
        self.raw, self.validated, self.ended = [], [], []

    def on_validation_batch_start(self, trainer, pl_module, *_):
        self.validated.append((trainer.global_step, trained_values(pl_module)))

    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.global_step > len(self.raw):
            self.raw.append(trained_values(pl_module))

    def on_train_epoch_end(self, trainer, pl_module):
        self.ended.append((trainer.global_step, trained_values(pl_module)))


def average_by_hand(raw):
    shares = [(1 - DECAY) * DECAY ** (len(raw) - 1 - i) / (1 - DECAY ** len(raw)) for i in range(len(raw))]
    assert sum(shares) == pytest.approx(1)
    return {name: sum(share * one[name] for share, one in zip(shares, raw, strict=True)) for name in raw[0]}


@pytest.fixture
def make(tokenizer, tmp_path):
    def make(**settings):
        settings = {"trained": attention_only(), "losses": KEPT_CLOSE, **settings}
        return toy_module(tiny_backbone("qwen3", tokenizer), **settings), toy_data(tmp_path / "toy")

    return make


@pytest.mark.parametrize("accumulated", [1, 3])
def test_validation_and_the_end_see_the_average_and_steps_the_raw_weights(make, tmp_path, accumulated):
    settings = {"accumulate_grad_batches": accumulated, "num_sanity_val_steps": 0}
    (plain, data), without = make(), Watch()
    fit(plain, data, 3, tmp_path, callbacks=[without], **settings)
    (module, data), watch = make(), Watch()
    fit(module, data, 3, tmp_path, callbacks=[WeightAverage(DECAY), watch], **settings)
    steps = {1: 12, 3: 6}[accumulated]
    assert len(watch.raw) == len(without.raw) == steps
    assert all(same(a, b) for a, b in zip(watch.raw, without.raw, strict=True)), "training itself is unchanged"
    assert len(watch.ended) == 3
    assert {step for step, _ in watch.validated} == {step for step, _ in watch.ended}
    for step, values in [*watch.validated, *watch.ended, (steps, trained_values(module))]:
        for name, expected in average_by_hand(watch.raw[:step]).items():
            torch.testing.assert_close(values[name], expected, rtol=1e-5, atol=1e-7)
    assert not same(trained_values(module), watch.raw[-1])


@pytest.mark.parametrize("part", ["lora", "head_weights"])
def test_a_killed_run_continues_bit_for_bit(make, tmp_path, part):
    def callbacks(*more):
        best = ModelCheckpoint(tmp_path / part, filename="best", monitor="val/ndcg@10", mode="max",
                               save_weights_only=True)  # fmt: skip
        return [WeightAverage(DECAY), best, ModelCheckpoint(tmp_path / part, filename="last"), *more]

    def run(ckpt_path=None, *more):
        module, data = make(trained=attention_only(part))
        average, *others = callbacks(*more)
        fit(module, data, 4, tmp_path, ckpt_path=ckpt_path, callbacks=[average, *others], enable_checkpointing=True)
        return module, average

    straight, expected = run()
    for file in (tmp_path / part).iterdir():
        file.unlink()
    with pytest.raises(SystemExit):
        run(None, Kill(2))
    (last,) = (tmp_path / part).glob("last.ckpt")
    content = torch.load(last, weights_only=True)
    raw = next(state for name, state in content["callbacks"].items() if name.startswith("WeightAverage"))["others"]
    assert raw.keys() == content["state_dict"].keys() == straight.trained.keys()
    assert not same(raw, content["state_dict"])
    resumed, average = run(last)
    assert same(trained_values(resumed), trained_values(straight))
    assert same(average.state_dict()["others"], expected.state_dict()["others"]), "the raw weights, too"


def test_heads_are_reselected_with_the_average(make, tmp_path):
    class Read(ReselectHeads):
        def _select(self, trainer, module, **how):
            seen.append((trainer.global_step, trained_values(module)))
            super()._select(trainer, module, **how)

    for validation in (2, 0):
        seen = []
        module, data = make(max_layer=2)
        data.validation_queries = validation
        watch = Watch()
        callbacks = [WeightAverage(DECAY), Read(EntropyRegularized()), watch]
        fit(module, data, 2, tmp_path, callbacks=callbacks, num_sanity_val_steps=0)
        assert len(seen) == 2
        for step, values in seen:
            for name, expected in average_by_hand(watch.raw[:step]).items():
                torch.testing.assert_close(values[name], expected, rtol=1e-5, atol=1e-7)
        module.eval()
        table = read_head_table(module.reader, data.training_lists, all_heads(2, 4), seeds=(0, 1, 2))
        assert module.heads == select_heads(table, EntropyRegularized(), module.scorer, count=3).heads


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, float("nan")])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=str(decay)):
        WeightAverage(decay)
