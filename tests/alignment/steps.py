"""A training step without a trainer, a kill in the middle of training, and what was trained."""

from types import SimpleNamespace

import torch
from lightning.pytorch import Callback

from headrank.alignment.scores import read_lists, score_lists
from headrank.data.batches import ListBatch

PARTS = ("lora", "full", "head_weights")


def trained_values(module):
    return {name: parameter.detach().clone() for name, parameter in module.trained.items()}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def step(module, lists, *, weight=None):
    """One training step without a trainer."""
    module._trainer = SimpleNamespace(world_size=1, current_epoch=0)
    module.log = module.log_dict = lambda *_, **__: None
    return module.training_step(ListBatch(lists, weight), 0)


def read_and_score(module, lists):
    """The head scores and z of lists with the module's heads."""
    readings = read_lists(module.reader, lists, module.heads, module.scorer, module.cuts)
    return [one.scores for one in readings], score_lists(lists, readings, module.scorer, module.weights)


class Kill(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt
