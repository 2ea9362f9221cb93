"""An exponential moving average of the trained weights, which validation, head reselection and export use.

    Trainer(callbacks=[WeightAverage(0.98), ReselectHeads(...)]).fit(module, datamodule=data)

Lightning's `EMAWeightAveraging` does not fit: it copies the whole module with its frozen weights, writes the frozen
weights to every checkpoint, and still holds the raw weights when heads are reselected before the validation epoch.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from headrank.alignment.callbacks import aligned_module
from headrank.alignment.module import AlignmentModule


class WeightAverage(Callback):
    """Averages the weights along training: the steps update the raw weights, everything else sees the average.

    After t optimizer steps the average is the sum over i <= t of (1 - decay) decay^(t-i) w_i / (1 - decay^t), the
    moving average with the bias correction of Adam (Kingma and Ba, arXiv 1412.6980, section 3). The start weights have
    no share in it, and after one step it equals the raw weights. Trained head weights are averaged before their
    softplus [ours].

    The module holds the average from the end of an epoch's last step, or the start of a validation, until the next
    step; also after training. Checkpoints of that time hold the average as weights and the raw weights as state of this
    callback, so a resumed run continues as if it had not been killed. Under DDP every process computes the same
    average. Put this callback before `ReselectHeads`.

    Args:
        decay: the factor of the earlier weights in each step, in (0, 1); the average covers about
            1 / (1 - decay) steps.

    Raises `ValueError` for another decay, and at the start of training for FSDP, whose shards cannot be swapped.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        if not 0 < decay < 1:
            raise ValueError(f"decay is {decay}, expected a number in (0, 1)")
        self.decay = decay
        self._steps = 0  # optimizer steps in the average
        self._averaged = False  # whether the module holds the average, and `_others` the raw weights
        self._others: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the start weights, or move the restored ones to the module's device."""
        module = aligned_module(pl_module)
        if module.device_mesh is not None:
            raise ValueError("WeightAverage under FSDP: expected DDP or one process")
        source = self._others or module.trained
        self._others = {
            name: source[name].detach().to(parameter.device, copy=True) for name, parameter in module.trained.items()
        }

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average if this batch ended an optimizer step."""
        if trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        new = (1 - self.decay) / (1 - self.decay**self._steps)
        for name, parameter in aligned_module(pl_module).trained.items():
            self._others[name].lerp_(parameter.detach(), new)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Continue with the raw weights."""
        self._hold(aligned_module(pl_module), average=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average; before the first step it equals the start weights."""
        self._hold(aligned_module(pl_module), average=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hold the average until the next epoch."""
        self._hold(aligned_module(pl_module), average=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights that the module does not hold, which of the two they are, and the number of steps."""
        return {"steps": self._steps, "averaged": self._averaged, "others": self._others}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._steps, self._averaged = state_dict["steps"], state_dict["averaged"]
        self._others = state_dict["others"]

    def _hold(self, module: AlignmentModule, *, average: bool) -> None:
        """Swap the two sets of weights if the module holds the other one."""
        if self._averaged == average:
            return
        self._averaged = average
        for name, parameter in module.trained.items():
            self._others[name], parameter.data = parameter.data, self._others[name]
