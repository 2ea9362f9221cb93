"""Lightning callbacks that select heads again during training, and that keep the scores of held-out lists.

    Trainer(callbacks=[ReselectHeads(EntropyRegularized(), reselect_every=1)]).fit(module, datamodule=data)

Training changes attention, and with it which heads rank best. Heads are selected after an epoch's last step and before
its validation, so the epoch's measures and its checkpoint belong to the new heads.
"""

import json
import logging
import math
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from headrank.alignment.adapters import TrainedPart
from headrank.alignment.module import AlignmentModule
from headrank.alignment.validation import HELD_OUT, gather
from headrank.data.labelled import LabelledList, usable_lists
from headrank.heads import (
    Criterion,
    HeadTable,
    LabelledScores,
    Selection,
    measures_table,
    read_head_table,
    select_heads,
)
from headrank.io.files import atomic_write
from headrank.model import BatchSettings, all_heads
from headrank.model.last_layer import computed_layers

logger = logging.getLogger(__name__)


class ReselectHeads(Callback):
    """Selects heads again with the current weights, on the training lists, among the layers up to `max_layer`.

    `max_layer` is that of the `AlignmentModule`. Heads are selected after every `reselect_every`-th epoch and always
    after the last one. If training ends early (EarlyStopping, max_steps), no validation follows the last selection.

    Args:
        criterion: scores the heads, see `headrank.heads.criteria`.
        reselect_every: the number of epochs between selections; 0: select only after the last epoch.
        count: the number of heads; None: the current number.
        lists: the labelled lists; None: the data module's `training_lists`.
        seeds: the seeds of the shuffled context orders, at least one.
        batch_size: the number of labelled lists per forward pass.

    Under DDP each process reads a share of the labelled lists. They are read in the dtype of the weights, without the
    trainer's autocast. The callback logs `heads/overlap` (the share of the new heads that were selected before),
    `heads/depth` (the number of computed layers) and `heads/depth_change` (the change of that number).

    Raises `ValueError` for an argument out of range, and at the start of training if the module has no `max_layer` or
    trains head weights.
    """

    def __init__(
        self,
        criterion: Criterion,
        *,
        reselect_every: int = 1,
        count: int | None = None,
        lists: Sequence[LabelledList] | None = None,
        seeds: Sequence[int] = (0, 1, 2),
        batch_size: int = 1,
    ) -> None:
        super().__init__()
        if reselect_every < 0 or batch_size < 1 or not seeds:
            raise ValueError(
                f"reselect_every {reselect_every}, batch_size {batch_size}, seeds {list(seeds)}: expected 0 or more, 1 "
                "or more, and at least one seed"
            )
        self.criterion, self.reselect_every, self.count = criterion, reselect_every, count
        self.lists, self.seeds, self.batch_size = lists, tuple(seeds), batch_size
        self._done = self._epoch = -1  # the last epoch with a selection, the last trained epoch

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise `ValueError` if the module has no `max_layer` or trains head weights."""
        module = aligned_module(pl_module)
        if module.max_layer is None:
            raise ValueError("ReselectHeads needs AlignmentModule(max_layer=...): the layers that heads may come from")
        if module.trained_settings.part == TrainedPart.HEAD_WEIGHTS:
            raise ValueError(
                "ReselectHeads with trained.part 'head_weights': the backbone is frozen, its best heads stay the same"
            )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Select heads if this validation follows an epoch after which heads are due.

        Heads are due after every `reselect_every`-th epoch and after the last one.
        """
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if fitting and trainer.is_last_batch and self._due(trainer):
            self._select(trainer, aligned_module(pl_module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Select heads if they are due after this epoch and no validation preceded this call."""
        self._epoch = trainer.current_epoch
        if self._due(trainer) and self._done != self._epoch:
            self._select(trainer, aligned_module(pl_module))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Select heads if none were selected after the last trained epoch, for instance because training stopped early.

        Nothing is logged, because Lightning no longer accepts values here.
        """
        if self._done != self._epoch:
            self._select(trainer, aligned_module(pl_module), log=False)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the last epoch with a selection and of the last trained epoch, for the checkpoint."""
        return {"done": self._done, "epoch": self._epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the two epoch numbers that `state_dict` returned."""
        self._done, self._epoch = state_dict["done"], state_dict["epoch"]

    def _due(self, trainer: Trainer) -> bool:
        epochs = trainer.current_epoch + 1
        return epochs == trainer.max_epochs or (self.reselect_every > 0 and epochs % self.reselect_every == 0)

    def _select(self, trainer: Trainer, module: AlignmentModule, *, log: bool = True) -> None:
        lists = self.lists if self.lists is not None else trainer.datamodule.training_lists  # type: ignore[attr-defined]
        table = self._read(module, usable_lists(lists), trainer.global_rank, trainer.world_size)
        count = self.count or len(module.heads)
        chosen = select_heads(table, self.criterion, module.scorer, count=count)
        before, depth = set(module.heads), module.depth
        self._done = trainer.current_epoch if log else self._epoch
        module.set_heads(chosen.heads, self._origin(chosen, table, module))
        overlap = len(before & set(chosen.heads)) / len(chosen.heads)
        values = {"overlap": overlap, "depth": float(module.depth), "depth_change": float(module.depth - depth)}
        logger.info(
            "align: reselected heads after epoch %d: %.0f%% unchanged, %d layers (%+d)",
            *(self._done + 1, 100 * overlap, module.depth, module.depth - depth),
        )
        if log:
            module.log_dict({f"heads/{name}": value for name, value in values.items()}, sync_dist=True)

    def _read(self, module: AlignmentModule, lists: Sequence[LabelledList], rank: int, world_size: int) -> HeadTable:
        heads = all_heads(module.max_layer or 0, module.backbone.heads_per_layer)
        # All ranks read the same number of lists, some one twice: they fetch sharded layers together in each pass.
        share = [*lists[rank::world_size], *lists[:1]][: math.ceil(len(lists) / world_size)]
        table = HeadTable(heads, ())
        query_ids = {one.item.query.id for one in lists}
        if len(query_ids) != len(lists):
            raise ValueError(f"{len(lists)} training lists with {len(query_ids)} query ids; expected distinct ids")
        if share:
            reader = replace(module.reader, batches=BatchSettings(self.batch_size))
            filtered = self.criterion.needs_filtered
            with _eval_mode(module), computed_layers(module.model, module.max_layer or 0):
                table = read_head_table(reader, share, heads, seeds=self.seeds, filtered=filtered)
        parts = gather(table.lists)
        together: list[LabelledScores] = [
            parts[n % world_size][n // world_size] for n in range(len(lists))
        ]  # in `lists`' order
        return HeadTable(heads, tuple(together))

    def _origin(self, chosen: Selection, table: HeadTable, module: AlignmentModule) -> dict[str, Any]:
        parameters = {name: value for name, value in vars(self.criterion).items() if name != "count"}
        return {
            "criterion": {"name": self.criterion.name, "parameters": parameters, "after_epoch": self._done + 1},
            "query_ids": [one.query_id for one in table.lists],
            "seeds": list(self.seeds),
            "table": measures_table(
                chosen, layers=module.backbone.layers, heads_per_layer=module.backbone.heads_per_layer
            ),
        }


class HeldOutScores(Callback):
    """Writes the scores of each epoch's validation to a JSON file, on rank 0; a resumed run keeps the earlier epochs.

    path: the file: for each epoch the content of `validation.held_out_scores`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the scores of this epoch."""
        if not trainer.is_global_zero:
            return
        earlier = json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else []
        with atomic_write(self.path) as file:
            json.dump([*earlier[: trainer.current_epoch], aligned_module(pl_module).origin[HELD_OUT]], file)


@contextmanager
def _eval_mode(module: AlignmentModule):
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def aligned_module(module: LightningModule) -> AlignmentModule:
    """Return the module unchanged. Raise `ValueError` if it is not an `AlignmentModule`."""
    if not isinstance(module, AlignmentModule):
        raise ValueError(f"expected an AlignmentModule, found {type(module).__name__}")
    return module
