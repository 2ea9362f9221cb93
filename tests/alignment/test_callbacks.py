"""Heads selected again in training: which, when, what becomes of the depth, and that a checkpoint knows them."""

import logging
import re
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from headrank.alignment.callbacks import ReselectHeads
from headrank.heads import EntropyRegularized, GivenHeads, QueryFocused, read_head_table, select_heads
from headrank.model import Head, all_heads
from tests.alignment.steps import Kill, same, trained_values
from tests.alignment.toy import attention_only, fit, toy_data, toy_list, toy_module
from tests.tiny import tiny_backbone

START = [Head(0, 0), Head(0, 1)]
CRITERION = EntropyRegularized()
DEEP = GivenHeads(heads=[[2, 1], [0, 1]])


class Watch(Callback):
    """The heads that each epoch's steps and validations saw."""

    def __init__(self):
        self.trained, self.validated = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.trained.append((trainer.current_epoch, pl_module.heads))

    def on_validation_epoch_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.validated.append(pl_module.heads)


@pytest.fixture
def make(tokenizer, tmp_path):
    """A module with heads of layer 0 that may come to have some of layer 2, and its data."""

    def make(**settings):
        module = toy_module(tiny_backbone("qwen3", tokenizer), START, **{"max_layer": 3, **settings})
        return module, toy_data(tmp_path / "toy")

    return make


def select_by_hand(module, data):
    reader = module.reader
    lists = data.training_lists
    table = read_head_table(reader, lists, all_heads(3, 4), seeds=(0, 1, 2))
    return select_heads(table, CRITERION, module.scorer, count=2).heads


def test_heads_are_selected_with_the_current_weights(make, tmp_path):
    module, data = make()
    watch = Watch()
    data.prepare_data()
    data.setup()
    before = select_by_hand(module, data)
    trainer = fit(module, data, 2, tmp_path, callbacks=[ReselectHeads(CRITERION), watch])
    module.eval()
    assert module.heads == select_by_hand(module, data)
    assert watch.validated[1] == module.heads  # the last validation is that of the heads that are deployed
    assert {heads for epoch, heads in watch.trained if epoch == 0} == {tuple(START)}
    assert {heads for epoch, heads in watch.trained if epoch == 1} == {watch.validated[0]}
    assert module.origin["query_ids"] == [x.item.query.id for x in data.training_lists]
    assert module.origin["criterion"]["after_epoch"] == 2
    assert {"heads/overlap", "heads/depth", "heads/depth_change"} <= trainer.callback_metrics.keys()
    assert before != tuple(START)


def test_overlap_and_depth_are_logged(make, tmp_path, caplog):
    module, data = make()
    with caplog.at_level(logging.INFO, logger="headrank"):
        trainer = fit(module, data, 1, tmp_path, callbacks=[ReselectHeads(DEEP)])
    metrics = trainer.callback_metrics
    assert float(metrics["heads/overlap"]) == 0.5
    assert (float(metrics["heads/depth"]), float(metrics["heads/depth_change"])) == (3.0, 2.0)
    assert re.search(r"epoch 1: 50\s?% .*3 layers \(\+2\)", caplog.text)


def test_deeper_heads_are_trained_from_then_on(make, tmp_path):
    """Layers 1 and 2 are computed and learn only after the selection; adapters were there from the start."""
    module, data = make(trained=attention_only("full"), weights=[1.0, 3.0])
    start = trained_values(module)
    values = []

    class Remember(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            values.append(trained_values(pl_module))

    fit(module, data, 2, tmp_path, callbacks=[Remember(), ReselectHeads(DEEP)])
    deep = [name for name in start if ".layers.0." not in name]
    assert len(deep) == 4
    assert all(torch.equal(values[0][name], start[name]) for name in deep)
    assert all(not torch.equal(values[1][name], start[name]) for name in deep)
    assert module.unreached_parameters == []
    assert module.depth == 3
    weights = dict(zip(module.heads, module.weights.tolist(), strict=True))
    assert weights == {Head(2, 1): 1.0, Head(0, 1): 3.0}  # a head that stays keeps its weight


@pytest.mark.parametrize(("every", "epochs"), [(1, [0, 1, 2]), (2, [1, 2]), (0, [2]), (5, [2])])
@pytest.mark.parametrize("validation", [2, 0])
def test_when_heads_are_selected(make, tmp_path, every, epochs, validation):
    module, data = make()
    data.validation_queries = validation
    selected = []

    class Count(ReselectHeads):
        def _select(self, trainer, module, **how):
            selected.append(trainer.current_epoch)
            super()._select(trainer, module, **how)

    fit(module, data, 3, tmp_path, callbacks=[Count(GivenHeads(heads=[[1, 1], [0, 0]]), reselect_every=every)])
    assert selected == epochs


def test_training_that_stops_early_selects_at_its_end(make, tmp_path):
    module, data = make()
    stop = EarlyStopping("val/ndcg@10", mode="max", stopping_threshold=0.0)
    trainer = fit(module, data, 9, tmp_path, callbacks=[ReselectHeads(DEEP, reselect_every=4), stop])
    assert trainer.current_epoch == 1
    assert module.heads == (Head(0, 1), Head(2, 1))


def test_a_killed_run_goes_on_with_the_heads_it_had(make, tmp_path):
    def callbacks(*more):
        return [ReselectHeads(CRITERION, reselect_every=2), *more]

    straight, data = make()
    fit(straight, data, 4, tmp_path, callbacks=callbacks())
    killed, data = make()
    keep = ModelCheckpoint(tmp_path / "run", save_last=True)
    with pytest.raises(SystemExit):
        fit(killed, data, 4, tmp_path, callbacks=callbacks(Kill(2), keep), enable_checkpointing=True)
    content = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert content["headrank"]["now"]["heads"] == [list(head) for head in killed.heads] != [list(h) for h in START]
    resumed, data = make()
    again = callbacks(ModelCheckpoint(tmp_path / "run", save_last=True))
    last = tmp_path / "run" / "last.ckpt"
    fit(resumed, data, 4, tmp_path, ckpt_path=last, callbacks=again, enable_checkpointing=True)
    assert resumed.heads == straight.heads
    assert same(trained_values(resumed), trained_values(straight))
    assert resumed.origin == straight.origin


def test_what_does_not_fit_is_refused(make, tmp_path):
    for wrong in ({"reselect_every": -1}, {"batch_size": 0}, {"seeds": ()}):
        with pytest.raises(ValueError, match="expected 0 or more"):
            ReselectHeads(CRITERION, **wrong)
    module, data = make(max_layer=None)
    with pytest.raises(ValueError, match="needs AlignmentModule"):
        fit(module, data, 1, tmp_path, callbacks=[ReselectHeads(CRITERION)])
    module, data = make(trained=attention_only("head_weights"))
    with pytest.raises(ValueError, match="head_weights"):
        fit(module, data, 1, tmp_path, callbacks=[ReselectHeads(CRITERION)])
    with pytest.raises(ValueError, match="head weights are trained"):
        module.set_heads(START, {})
    module, _ = make(max_layer=2)
    with pytest.raises(ValueError, match=r"heads 2-1 .* of 2 layers"):
        module.set_heads([Head(2, 1)], {})
    one = toy_list(0)
    module, data = make()
    with pytest.raises(ValueError, match="2 training lists with 1 query ids"):
        fit(module, data, 1, tmp_path, callbacks=[ReselectHeads(CRITERION, lists=[one, one])])


def test_given_lists_and_a_filtered_criterion(make, tmp_path):
    module, data = make()
    lists = [toy_list(7), replace(toy_list(8), grades=(0,) * 6)]  # the second has one grade and is left out
    fit(module, data, 1, tmp_path, callbacks=[ReselectHeads(QueryFocused(), count=5, lists=lists, seeds=[3])])
    assert len(module.heads) == 5
    assert module.origin["query_ids"] == ["q7"]
    assert module.origin["seeds"] == [3]
