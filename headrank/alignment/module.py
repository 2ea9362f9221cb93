"""Alignment as a LightningModule: reads lists through chosen heads, mines preference pairs and computes the losses.

    backbone = load_backbone(settings, depth=heads.depth)
    module = AlignmentModule(backbone, heads.heads, losses=losses, temperature=2.0, scorer=heads.scorer)
    with without_cudnn_attention():  # see training.py
        Trainer(...).fit(module, datamodule=ListwiseDataModule(...))
    export_aligned(module, folder)

z, the score of a passage, is calibrated as at inference. Gradients flow through the readings of the query and of the
null query, which share one prefix. Reference scores are the z of the frozen start model with its start heads. If a loss
needs them, each step computes them in one more forward pass, because context orders change every epoch.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from headrank.alignment.adapters import (
    StartModel,
    TrainedPart,
    TrainedSettings,
    checkpoint_activations,
    decoder_layers,
    prepare_trained,
    zero_loss,
)
from headrank.alignment.checkpoint import KEY, check_identity, check_tensors
from headrank.alignment.losses import ListwiseInput, WeightedLosses
from headrank.alignment.optimizer import OptimizerSettings, make_optimizer, unreached
from headrank.alignment.pairs import PairSettings, mine_pairs
from headrank.alignment.scores import read_lists, score_lists
from headrank.alignment.sharding import ShardedModel
from headrank.alignment.validation import HELD_OUT, ValidationRecord, gather, held_out_scores, measure
from headrank.data.batches import ListBatch
from headrank.data.labelled import LabelledList, usable_lists
from headrank.io.artifacts import artifact_key
from headrank.model import Backbone, CutCounts, Head, ListReader, PromptBuilder, PromptSettings, ScorerSettings
from headrank.model.head_scores import check_heads
from headrank.model.identity import loaded_fingerprint


class AlignmentModule(LightningModule):
    """Trains a backbone's attention so that chosen heads rank passages better.

    Args:
        backbone: loaded at least to the deepest head; changed in place.
        heads: the heads that z (the passage score) is computed from.
        losses, temperature: the losses, and the factor of z before pairs and losses.
        weights: one per head; fixed, or the start values if `head_weights` are trained. None: all 1.
        prompt, scorer, pairs, trained, optimizer: the settings of these parts. None: their defaults.
        max_layer: the number of layers whose matrices are trainable and whose heads `ReselectHeads` may select; layers
            deeper than every selected head stay unchanged. None: the layers up to the deepest head.
        gradient_checkpointing: whether the backward pass recomputes activations to save memory.
        seed: the seed of random pairs and of the adapters' start values.
        schedule_epochs: the epochs of the learning rate's schedule; None: those of the trainer.
        origin: `criterion`, `query_ids` and `seeds` as plain values, which describe in the exported heads file how the
            heads were selected. None: the criterion is `given`.

    Logs `train/loss` and each loss by name, as means over lists with at least two grades, and once an epoch
    `val/ndcg@10` and `val/selectivity` (see `validation.measure`). Raises `ValueError` for heads beyond the backbone or
    `max_layer`, weights that do not match the heads, the errors of `prepare_trained`, and during training for scores
    that are not finite.
    """

    def __init__(
        self,
        backbone: Backbone,
        heads: Sequence[Head],
        *,
        losses: WeightedLosses,
        temperature: float,
        weights: Sequence[float] | None = None,
        prompt: PromptSettings | None = None,
        scorer: ScorerSettings | None = None,
        pairs: PairSettings | None = None,
        trained: TrainedSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        max_layer: int | None = None,
        gradient_checkpointing: bool = False,
        seed: int = 0,
        schedule_epochs: int | None = None,
        origin: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.strict_loading = False  # checkpoints hold only the trained tensors; on_load_checkpoint checks them
        self.backbone, self.model = backbone, backbone.model
        self.losses, self.pairs = losses, pairs or PairSettings()
        self.scorer = scorer or ScorerSettings()
        self.reader = ListReader(backbone, PromptBuilder(backbone.tokenizer, prompt), self.scorer.query_rows)
        self.cuts = CutCounts()  # over all lists read so far
        self.temperature, self.seed, self.schedule_epochs = temperature, seed, schedule_epochs
        self.trained_settings, self.optimizer = trained or TrainedSettings(), optimizer or OptimizerSettings()
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature is {temperature}, expected a finite number above 0")
        if max_layer is not None and not 1 <= max_layer <= backbone.depth:
            raise ValueError(f"max_layer is {max_layer}, expected at most the {backbone.depth} layers of the backbone")
        self.max_layer = max_layer
        heads = tuple(Head(*head) for head in heads)
        check_heads(heads, layers=max_layer or backbone.depth, heads_per_layer=backbone.heads_per_layer)
        weights = tuple(float(weight) for weight in weights or (1.0,) * len(heads))
        if len(weights) != len(heads) or not all(0 <= w < float("inf") for w in weights) or not sum(weights):
            raise ValueError(f"weights {weights} for {len(heads)} heads, expected one per head, 0 or more, not all 0")
        self.start_heads = self.heads = heads
        self.start_weights = self.fixed_weights = weights
        self.origin = {"criterion": {"name": "given"}, "query_ids": [], "seeds": [], **(origin or {})}
        self._depth = max_layer or max(head.layer for head in heads) + 1  # matrices of these layers are trainable
        self._fingerprint = loaded_fingerprint(self.model, self._depth)
        inside = prepare_trained(self.model, self._depth, self.trained_settings, seed=seed)
        self.trained: dict[str, nn.Parameter] = {f"model.{name}": parameter for name, parameter in inside.items()}
        if self.trained_settings.part == TrainedPart.HEAD_WEIGHTS:
            start = torch.tensor(weights).clamp(min=1e-4)  # softplus reaches no 0
            self.raw_weights = nn.Parameter(start + torch.log(-torch.expm1(-start)))  # softplus's inverse
            self.trained["raw_weights"] = self.raw_weights
        self._start = StartModel(self.model, inside, keep=losses.needs_reference)
        self._records: list[ValidationRecord] = []
        self._sharded: ShardedModel | None = None
        if gradient_checkpointing:
            checkpoint_activations(self.model)
        # Frozen buffers are equal on all ranks. DDP would broadcast them in each pass, but ranks may differ in their
        # number of validation passes.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def configure_model(self) -> None:
        """Shard the model over the processes if FSDP is used, which replaces the model's parameters."""
        if self.device_mesh is None or self._sharded is not None:
            return
        if not self._start.sharable or self.trained_settings.part == TrainedPart.HEAD_WEIGHTS:
            raise ValueError("FSDP trains LoRA, or full matrices without a loss that needs the start model")
        self._sharded = ShardedModel(self.model, self.device_mesh["data_parallel"])
        now = dict(self.named_parameters())
        self.trained = {name: now[name] for name in self.trained}

    @property
    def depth(self) -> int:
        """The number of layers to compute: the index (from 0) of the deepest head's layer, plus 1."""
        return max(head.layer for head in self.heads) + 1

    @property
    def weights(self) -> Float[Tensor, " heads"]:
        """The weights of the heads, [heads]: softplus of `raw_weights` if they are trained, else the fixed ones."""
        if self.trained_settings.part == TrainedPart.HEAD_WEIGHTS:
            return nn.functional.softplus(self.raw_weights)
        return torch.tensor(self.fixed_weights, device=self.device)

    @property
    def unreached_parameters(self) -> list[nn.Parameter]:
        """Trained parameters that do not affect the current heads' scores.

        They belong to layers deeper than every head, or to the deepest head's layer but not to `READ_LAST`.
        """
        return unreached(self.trained, f"model.{decoder_layers(self.model)}", self.depth)

    def set_heads(self, heads: Sequence[Head], origin: dict[str, Any]) -> None:
        """Replace the heads that are read. Heads that stay keep their weight; new heads have weight 1.

        `origin` describes, as plain values, how `heads` were selected. Raises `ValueError` for heads beyond
        `max_layer`, and if head weights are trained.
        """
        if self.trained_settings.part == TrainedPart.HEAD_WEIGHTS:
            raise ValueError("head weights are trained: the heads must stay those that training began with")
        check_heads(heads, layers=self._depth, heads_per_layer=self.backbone.heads_per_layer)
        before = dict(zip(self.heads, self.fixed_weights, strict=True))
        self.heads, self.origin = tuple(Head(*head) for head in heads), origin
        self.fixed_weights = tuple(before.get(head, 1.0) for head in self.heads)

    def training_step(self, batch: ListBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch: `batch.weight` times the sum of its lists' losses, by default their mean.

        Lists of a single grade are skipped. If no list is left, the loss is 0, with zero gradients for all trained
        parameters, as DDP requires; FSDP raises `ValueError` instead. A batch of weight 0 only keeps ranks in step.
        """
        lists = usable_lists(batch)
        if not lists and self._sharded is not None:
            raise ValueError(
                "no list of the batch has two grades: under FSDP every rank must read a list in every step"
            )
        if not lists:
            total, parts = zero_loss(list(self.trained.values())), dict.fromkeys(self.losses.terms, 0.0)
        else:
            reference = self._reference(lists)
            with torch.set_grad_enabled(self.trained_settings.part != TrainedPart.HEAD_WEIGHTS):
                readings = read_lists(self.reader, lists, self.heads, self.scorer, self.cuts)
            z = score_lists(lists, readings, self.scorer, self.weights)
            results = [self._loss(*each) for each in zip(lists, z, reference, strict=True)]
            total = torch.stack([loss for loss, _ in results]).sum()
            total = total + zero_loss(self.unreached_parameters) if self._sharded is None else self._sharded.tie(total)
            parts = {name: sum(float(values[name]) for _, values in results) for name in results[0][1]}
        # times the world size: Lightning averages these integers over ranks and rounds down
        counted = len(lists) * self.trainer.world_size if batch.weight else 0
        means = {f"train/{name}": value / max(1, len(lists)) for name, value in parts.items()}
        means["train/loss"] = float(total.detach()) / max(1, len(lists))
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=counted, sync_dist=True)
        self.log("loss", means["train/loss"], on_step=True, on_epoch=False, prog_bar=True, batch_size=counted)
        return total * batch.weight

    def _loss(self, one: LabelledList, z: Tensor, reference: Tensor | None) -> tuple[Tensor, dict[str, Any]]:
        z = z * self.temperature
        grades = torch.tensor([one.grades[i] for i in one.order], device=z.device)
        targets = None if one.teacher is None else z.new_tensor([one.teacher[i] for i in one.order])
        key = artifact_key(self.seed, self.current_epoch, one.item.query.id)  # a resumed run draws the same pairs
        draw = torch.Generator().manual_seed(int(key[:12], 16))
        pairs = mine_pairs(z.detach(), grades, self.pairs, targets=targets, generator=draw)
        with torch.autocast(z.device.type, enabled=False):
            return self.losses(ListwiseInput(z, grades, pairs, reference, targets))

    def _reference(self, lists: Sequence[LabelledList]) -> Sequence[Tensor | None]:
        if not self.losses.needs_reference:
            return [None] * len(lists)
        with torch.no_grad(), self._start.entered():
            readings = read_lists(self.reader, lists, self.start_heads, self.scorer, self.cuts)
            weights = torch.tensor(self.start_weights, device=self.device)
            return [z * self.temperature for z in score_lists(lists, readings, self.scorer, weights)]

    def validation_step(self, batch: ListBatch, batch_idx: int) -> None:
        """Rank each list by z, without the temperature, as at inference, and keep it for the epoch's measures."""
        readings = read_lists(self.reader, batch.lists, self.heads, self.scorer, self.cuts)
        z, fusion = score_lists(batch.lists, readings, self.scorer, self.weights), self.scorer.fusion_weight
        for one, reading, values in zip(batch, readings, z, strict=True):
            masses = reading.scores.query.sum(0)
            self._records.append(ValidationRecord.from_scores(one, values, masses, fusion=fusion))

    def on_validation_epoch_start(self) -> None:
        """Discard the records of a validation that was interrupted."""
        self._records = []

    def on_validation_epoch_end(self) -> None:
        """Compute the measures over the held-out queries of all ranks and log them as `val/<measure>`."""
        records, self._records = [record for part in gather(self._records) for record in part], []
        self.origin = {**self.origin, HELD_OUT: held_out_scores(records)}
        self.log_dict({f"val/{name}": value for name, value in measure(records).items()}, sync_dist=True)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the gradients of `unreached_parameters` to None; AdamW would decay them even at gradient 0."""
        for parameter in self.unreached_parameters:
            parameter.grad = None

    def configure_optimizers(self) -> Any:
        """Create AdamW over the trained parameters, with a learning rate schedule that advances after every step."""
        steps, epochs = self.trainer.estimated_stepping_batches, self.trainer.max_epochs
        if self.schedule_epochs is not None and epochs:
            steps = steps // epochs * self.schedule_epochs
        optimizer, schedule = make_optimizer(list(self.trained.values()), self.optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Set training mode, which activation checkpointing requires. Scores stay the same, because dropout is 0."""
        self.train()

    def identity(self) -> dict[str, Any]:
        """Return model, start heads and settings as plain values; a checkpoint resumes only if they are equal."""
        settings = self.backbone.settings
        scorer = {name: value for name, value in self.scorer.identity.items() if name not in ("order", "shuffles")}
        scorer["fusion_alpha"] = scorer.pop("fusion")  # its name in checkpoints of earlier versions
        return {
            "model": settings.model,
            "revision": settings.revision,
            "weights": self._fingerprint,
            "layers": [self.backbone.layers, self.backbone.heads_per_layer],
            "depth": self._depth,
            "heads": [list(head) for head in self.start_heads],
            "head_weights": list(self.start_weights),
            "trained": asdict(self.trained_settings),
            "seed": self.seed,
            "temperature": self.temperature,
            "prompt": asdict(self.reader.prompts.settings),
            "scorer": scorer,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Drop the frozen tensors from the checkpoint, and add the module's identity and current heads."""
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in self.trained}
        now = {"heads": [list(head) for head in self.heads], "weights": list(self.fixed_weights), **self.origin}
        checkpoint[KEY] = {"identity": self.identity(), "now": now}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the heads of a checkpoint. Raises `ValueError` if its `identity` or its tensors do not match."""
        found = checkpoint.get(KEY) or {}
        check_identity(found.get("identity"), self.identity())
        if "state_dict" in checkpoint:  # FSDP's strategy loads it separately
            check_tensors(checkpoint["state_dict"], self.trained)
        now = dict(found["now"])
        self.heads = tuple(Head(*head) for head in now.pop("heads"))
        self.fixed_weights = tuple(now.pop("weights"))
        self.origin = now

    def load_trained(self, path: Path) -> None:
        """Load the trained tensors and heads of a checkpoint, for export or validation."""
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        self.on_load_checkpoint(checkpoint)
        self.load_state_dict(checkpoint["state_dict"], strict=False)
