"""Reads labelled lists in training: head scores and z with gradients.

Prompts, calibration and z are those of inference (`headrank.model`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from headrank.alignment.pairs import check_finite
from headrank.data.batches import LabelledList
from headrank.model import (
    Backbone,
    CutCounts,
    Head,
    HeadScores,
    PromptBuilder,
    ScorerSettings,
    passage_scores,
    read_head_scores,
)


@dataclass(frozen=True, slots=True)
class LabelledReader:
    """Reads labelled lists in their context orders; results have one column per context position."""

    backbone: Backbone
    prompts: PromptBuilder
    scorer: ScorerSettings
    cuts: CutCounts = field(default_factory=CutCounts, compare=False)  # over all lists read so far

    def read(self, lists: Sequence[LabelledList], heads: Sequence[Head]) -> list[HeadScores]:
        """Head scores of each list; only the layers up to the deepest head are computed."""
        texts = [(x.item.query.text, [x.item.passages[i].text for i in x.order]) for x in lists]
        prompts = self.prompts.build_many(texts, with_null=self.scorer.needs_null)
        for prompt in prompts:
            self.cuts.add(len(prompt.passages), len(prompt.cut), query_cut=prompt.query_cut)
        with computed_layers(self.backbone, max(head.layer for head in heads) + 1):
            return read_head_scores(
                self.backbone,
                prompts,
                heads,
                query_rows=self.scorer.query_rows,
                per_token=self.scorer.token_filter,
            )

    def passage_scores(
        self, lists: Sequence[LabelledList], scores: Sequence[HeadScores], weights: Float[Tensor, " heads"]
    ) -> list[Float[Tensor, " docs"]]:
        """z of each list in fp32, also under autocast. Raises `ValueError`, naming the query, for NaN or infinity."""
        values = []
        for one, read in zip(lists, scores, strict=True):
            with torch.autocast(read.query.device.type, enabled=False):
                z = passage_scores(read, self.scorer, weights)
            try:
                check_finite("z", z.detach())
            except ValueError as error:
                raise ValueError(f"query {one.item.query.id!r}: {error}") from error
            values.append(z)
        return values


@contextmanager
def computed_layers(backbone: Backbone, depth: int) -> Iterator[None]:
    """Compute only the first `depth` layers of the backbone within the context.

    Transformers' models loop over `config.num_hidden_layers`.
    """
    whole = backbone.config.num_hidden_layers
    backbone.config.num_hidden_layers = depth
    try:
        yield
    finally:
        backbone.config.num_hidden_layers = whole


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Recompute the layers' activations in the backward pass while the model is in train mode."""
    # The method was renamed in transformers 5. Reentrant checkpointing would lose the gradients of head scores.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
