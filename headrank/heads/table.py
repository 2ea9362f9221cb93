"""The head table: every head's scores on every labelled list, read once, from which every criterion chooses.

Lists are read in several shuffled context orders and the scores averaged: in first-stage order a head that merely
reads position looks like one that reads relevance. Comparing criteria, calibrations or numbers of heads then costs no
further forward pass.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from headrank.data.labelled import LabelledList
from headrank.model.calibration import EPS, Calibration, LengthNorm, filter_tokens, head_calibrated
from headrank.model.head_scores import Head, HeadScores
from headrank.model.plain_text import CutCounts
from headrank.model.prompt import PromptSettings
from headrank.model.reader import ListReader, Order, context_order

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """Head scores of one labelled list, passages in first-stage order, averaged over context orders.

    `filtered[h, i]` is head h's own null-calibrated score after ICR's token filter, if it was requested.
    `relevance_threshold` is the grade from which the list's data set calls a passage relevant. `contexts` are the
    query's scores in each context order, for criteria that do not commute with the average.
    """

    query_id: str
    grades: Int[Tensor, " docs"]
    scores: HeadScores
    filtered: Float[Tensor, "heads docs"] | None = None
    relevance_threshold: int = 1
    contexts: Float[Tensor, "orders heads docs"] | None = None  # None: one order, that of `scores`

    @property
    def relevant(self) -> Bool[Tensor, " docs"]:
        """Which passages are relevant, for criteria that know only relevant or not."""
        return self.grades >= self.relevance_threshold

    @property
    def context_scores(self) -> Float[Tensor, "orders heads docs"]:
        """The query's scores in each context order, uncalibrated."""
        return self.scores.query[None] if self.contexts is None else self.contexts


@dataclass(frozen=True, slots=True)
class HeadTable:
    """The labelled lists and the heads whose scores they hold."""

    heads: tuple[Head, ...]
    lists: tuple[LabelledScores, ...]

    def save(self, path: Path) -> None:
        """Write as one safetensors file."""
        tensors: dict[str, Tensor] = {"heads": torch.tensor(self.heads, dtype=torch.long)}
        for i, item in enumerate(self.lists):
            parts = {"grades": item.grades, "lengths": item.scores.lengths, "query": item.scores.query}
            parts |= {"null": item.scores.null} if item.scores.null is not None else {}
            parts |= {"filtered": item.filtered} if item.filtered is not None else {}
            parts |= {"contexts": item.contexts} if item.contexts is not None else {}
            # copies, since safetensors refuses tensors that share memory
            tensors |= {f"{i}/{n}": value.clone(memory_format=torch.contiguous_format) for n, value in parts.items()}
        metadata = {
            "query_ids": json.dumps([item.query_id for item in self.lists]),
            "relevance_thresholds": json.dumps([item.relevance_threshold for item in self.lists]),
        }
        save_file(tensors, path, metadata=metadata)

    @classmethod
    def load(cls, path: Path) -> "HeadTable":
        """Read what `save` wrote."""
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            query_ids, thresholds = (json.loads(metadata[name]) for name in ("query_ids", "relevance_thresholds"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        heads = tuple(Head(int(layer), int(head)) for layer, head in tensors["heads"].tolist())
        lists = []
        for i, (query_id, threshold) in enumerate(zip(query_ids, thresholds, strict=True)):
            null = tensors.get(f"{i}/null")
            scores = HeadScores(heads, tensors[f"{i}/query"], null, tensors[f"{i}/lengths"])
            grades, filtered = tensors[f"{i}/grades"], tensors.get(f"{i}/filtered")
            contexts = tensors.get(f"{i}/contexts")
            lists.append(LabelledScores(query_id, grades, scores, filtered, threshold, contexts))
        return cls(heads, tuple(lists))


@dataclass(frozen=True, slots=True)
class HeadCalibration:
    """How criteria see a head's scores: calibrated as the scorer that will use the heads does."""

    calibration: Calibration = Calibration.RESIDUAL
    power: float = 0.5
    length_norm: LengthNorm = LengthNorm.NONE
    eps: float = EPS

    def __call__(self, scores: HeadScores) -> Float[Tensor, "heads docs"]:
        """Each head's calibrated scores, see `head_calibrated`."""
        return head_calibrated(
            scores, calibration=self.calibration, power=self.power, length_norm=self.length_norm, eps=self.eps
        )


def read_head_table(
    reader: ListReader,
    lists: Sequence[LabelledList],
    heads: Sequence[Head],
    *,
    seeds: Sequence[int],
    filtered: bool = False,
    on_list: Callable[[], object] | None = None,
) -> HeadTable:
    """Read every head's scores on every list with two grades or more, in one shuffled order per seed.

    `filtered` reads per token as well, for criteria that need ICR's token filter. Raises `ValueError` if no seed is
    given or no list has two grades.
    """
    if not seeds:
        raise ValueError("head selection needs at least one seed for its shuffled context orders")
    kept = [one for one in lists if one.has_pairs]
    if len(kept) < len(lists):
        logger.info("%d of %d labelled lists have a single grade and are not used", len(lists) - len(kept), len(lists))
    if not kept:
        raise ValueError(
            f"none of the {len(lists)} labelled lists has candidates of two different grades: heads cannot be selected"
        )
    seeds = distinct_seeds(reader.prompts.settings, seeds)
    jobs = [(n, seed) for n in range(len(kept)) for seed in seeds]
    items = [one.item for one in kept]
    orders = [context_order(Order.SHUFFLED, len(items[n]), seed=seed, query=items[n].query.text) for n, seed in jobs]
    sums: dict[int, list[Tensor]] = {}
    contexts: dict[tuple[int, int], Tensor] = {}
    lengths: dict[int, Tensor] = {}
    cuts = CutCounts()
    for reading in reader.read([items[n] for n, _ in jobs], orders, heads, with_null=True, per_token=filtered):
        number, seed = jobs[reading.number]
        scores = reading.first_stage_order()
        assert scores.null is not None
        parts = [scores.query.float().cpu(), scores.null.float().cpu()]
        if filtered:
            parts.append(_filtered_per_head(reading.scores)[:, _inverse(reading.order)].cpu())
        contexts[number, seed] = parts[0]
        before = sums.get(number)
        if before is None:
            cuts.add(len(reading.order), len(reading.cut), query_cut=reading.query_cut)
        sums[number] = parts if before is None else [a + b for a, b in zip(before, parts, strict=True)]
        lengths[number] = scores.lengths
        if on_list is not None:
            on_list()
    if cuts:
        logger.info("labelled lists: cut %s", cuts)
    labelled = []
    for n, one in enumerate(kept):
        means = [part / len(seeds) for part in sums[n]]
        head_scores = HeadScores(tuple(heads), means[0], means[1], lengths[n])
        per_token = means[2] if filtered else None
        each = torch.stack([contexts[n, seed] for seed in seeds]) if len(seeds) > 1 else None
        grades, threshold = torch.tensor(one.grades), one.relevance_threshold
        labelled.append(LabelledScores(one.item.query.id, grades, head_scores, per_token, threshold, each))
    return HeadTable(tuple(heads), tuple(labelled))


def distinct_seeds(prompt: PromptSettings, seeds: Sequence[int]) -> Sequence[int]:
    """The seeds whose context orders read differently: one of them where passages are blind to each other."""
    return seeds[:1] if prompt.in_blocks else seeds


def _inverse(order: Sequence[int]) -> Tensor:
    return torch.argsort(torch.tensor(list(order)))


def _filtered_per_head(scores: HeadScores) -> Float[Tensor, "heads docs"]:
    tokens = scores.tokens
    assert tokens is not None
    assert tokens.null is not None
    return filter_tokens(tokens.query - tokens.null, tokens.passage, len(scores.lengths))
