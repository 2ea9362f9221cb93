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
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from headrank.model.calibration import EPS, Calibration, LengthNorm, filter_tokens, head_calibrated
from headrank.model.head_scores import Head, HeadScores
from headrank.model.list_reader import ListReader, Order, context_order
from headrank.model.prompt import PromptSettings
from headrank.ranking import CandidateList, Qrels

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """Head scores of one labelled list, passages in first-stage order, averaged over context orders.

    `filtered[h, i]` is head h's own null-calibrated score after ICR's token filter, where it was asked for.
    """

    query_id: str
    grades: Int[Tensor, " docs"]
    scores: HeadScores
    filtered: Float[Tensor, "heads docs"] | None = None


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
            # copies, since safetensors refuses tensors that share memory
            tensors |= {f"{i}/{n}": value.clone(memory_format=torch.contiguous_format) for n, value in parts.items()}
        save_file(tensors, path, metadata={"query_ids": json.dumps([item.query_id for item in self.lists])})

    @classmethod
    def load(cls, path: Path) -> "HeadTable":
        """Read what `save` wrote."""
        with safe_open(path, framework="pt") as file:
            query_ids = json.loads(file.metadata()["query_ids"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        heads = tuple(Head(int(layer), int(head)) for layer, head in tensors["heads"].tolist())
        lists = []
        for i, query_id in enumerate(query_ids):
            null = tensors.get(f"{i}/null")
            scores = HeadScores(heads, tensors[f"{i}/query"], null, tensors[f"{i}/lengths"])
            lists.append(LabelledScores(query_id, tensors[f"{i}/grades"], scores, tensors.get(f"{i}/filtered")))
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


def usable_lists(lists: Sequence[CandidateList], qrels: Qrels) -> tuple[list[CandidateList], int]:
    """The lists in which at least two grades are present, and how many are not and teach nothing."""
    kept = [item for item in lists if len(set(list_grades(item, qrels))) > 1]
    return kept, len(lists) - len(kept)


def list_grades(item: CandidateList, qrels: Qrels) -> list[int]:
    """The candidates' grades; unjudged candidates count as grade 0, grades below 0 as 0."""
    judged = qrels.get(item.query.id, {})
    return [max(0, judged.get(passage_id, 0)) for passage_id in item.passage_ids]


def read_head_table(
    reader: ListReader,
    lists: Sequence[CandidateList],
    qrels: Qrels,
    heads: Sequence[Head],
    *,
    seeds: Sequence[int],
    filtered: bool = False,
    on_list: Callable[[], object] | None = None,
) -> HeadTable:
    """Read every head's scores on every list with two grades or more, in one shuffled order per seed.

    `filtered` reads per token as well, for criteria that want ICR's token filter. Raises `ValueError` where no seed
    is given or no list has two grades.
    """
    if not seeds:
        raise ValueError("head selection needs at least one seed for its shuffled context orders")
    kept, dropped = usable_lists(lists, qrels)
    if dropped:
        logger.info("%d of %d labelled lists have fewer than two grades and are not used", dropped, len(lists))
    if not kept:
        raise ValueError(
            f"none of the {len(lists)} labelled lists has candidates of two different grades: heads cannot be selected"
        )
    seeds = distinct_seeds(reader.prompts.settings, seeds)
    jobs = [(n, seed) for n in range(len(kept)) for seed in seeds]
    orders = [context_order(Order.SHUFFLED, len(kept[n]), seed=seed, query=kept[n].query.text) for n, seed in jobs]
    sums: dict[int, list[Tensor]] = {}
    lengths: dict[int, Tensor] = {}
    for reading in reader.read([kept[n] for n, _ in jobs], orders, heads, with_null=True, per_token=filtered):
        number = jobs[reading.number][0]
        scores = reading.first_stage_order()
        assert scores.null is not None
        parts = [scores.query.float().cpu(), scores.null.float().cpu()]
        if filtered:
            parts.append(_filtered_per_head(reading.scores)[:, _inverse(reading.order)].cpu())
        before = sums.get(number)
        sums[number] = parts if before is None else [a + b for a, b in zip(before, parts, strict=True)]
        lengths[number] = scores.lengths
        if on_list is not None:
            on_list()
    labelled = []
    for n, item in enumerate(kept):
        means = [part / len(seeds) for part in sums[n]]
        head_scores = HeadScores(tuple(heads), means[0], means[1], lengths[n])
        grades = torch.tensor(list_grades(item, qrels))
        labelled.append(LabelledScores(item.query.id, grades, head_scores, means[2] if filtered else None))
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
