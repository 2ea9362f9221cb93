"""The head table: the scores of every head on every labelled list, the input of all criteria.

Scores are averaged over several shuffled context orders, because in first-stage order a head that measures position
looks like one that measures relevance. Criteria, calibrations and numbers of heads can be compared from one table,
without another forward pass.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from headrank.data.labelled import LabelledList, usable_lists
from headrank.model.calibration import filter_tokens
from headrank.model.head_scores import Head, HeadScores
from headrank.model.plain_text import CutCounts
from headrank.model.prompt import PromptSettings
from headrank.model.reader import ListReader
from headrank.ranking import shuffled_order

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """Head scores of one labelled list; passages are in first-stage order.

    query_id: the query.
    grades: [docs].
    scores: the heads' attention masses, averaged over context orders.
    filtered: [heads, docs], attention masses after subtracting the null query's and after ICR's token filter, averaged
        over context orders; None if they were not requested.
    relevance_threshold: the lowest grade that the data set counts as relevant.
    contexts: [orders, heads, docs], the query's masses in each context order, for criteria that are nonlinear in the
        scores. None: `scores` comes from a single order.
    """

    query_id: str
    grades: Int[Tensor, " docs"]
    scores: HeadScores
    filtered: Float[Tensor, "heads docs"] | None = None
    relevance_threshold: int = 1
    contexts: Float[Tensor, "orders heads docs"] | None = None

    @property
    def relevant(self) -> Bool[Tensor, " docs"]:
        """A mask [docs] of the passages whose grade reaches the relevance threshold."""
        return self.grades >= self.relevance_threshold

    @property
    def context_scores(self) -> Float[Tensor, "orders heads docs"]:
        """The query's uncalibrated attention masses in each context order: [orders, heads, docs]."""
        return self.scores.query[None] if self.contexts is None else self.contexts


@dataclass(frozen=True, slots=True)
class HeadTable:
    """Scores of heads on labelled lists.

    heads: the heads that were read.
    lists: the scores of each list for all these heads.
    """

    heads: tuple[Head, ...]
    lists: tuple[LabelledScores, ...]

    def folds(self, count: int, seed: int) -> Iterator[tuple["HeadTable", tuple[LabelledScores, ...]]]:
        """Split the lists into random folds for cross-validation.

        Args:
            count: the number of folds.
            seed: the seed of the split.

        Yields:
            For each fold: a table of the lists outside the fold, and the lists of the fold.
        """
        shuffled = torch.randperm(len(self.lists), generator=torch.Generator().manual_seed(seed)).tolist()
        for fold in range(count):
            held_out = set(shuffled[fold::count])
            rest = tuple(one for i, one in enumerate(self.lists) if i not in held_out)
            yield HeadTable(self.heads, rest), tuple(self.lists[i] for i in sorted(held_out))

    def save(self, path: Path) -> None:
        """Write the table to a safetensors file."""
        tensors: dict[str, Tensor] = {"heads": torch.tensor(self.heads, dtype=torch.long)}
        for i, item in enumerate(self.lists):
            parts = {"grades": item.grades, "lengths": item.scores.lengths, "query": item.scores.query}
            parts |= {"null": item.scores.null} if item.scores.null is not None else {}
            parts |= {"filtered": item.filtered} if item.filtered is not None else {}
            parts |= {"contexts": item.contexts} if item.contexts is not None else {}
            # copies, because safetensors rejects tensors that share memory
            tensors |= {f"{i}/{n}": value.clone(memory_format=torch.contiguous_format) for n, value in parts.items()}
        metadata = {
            "query_ids": json.dumps([item.query_id for item in self.lists]),
            "relevance_thresholds": json.dumps([item.relevance_threshold for item in self.lists]),
        }
        save_file(tensors, path, metadata=metadata)

    @classmethod
    def load(cls, path: Path) -> "HeadTable":
        """Read a table from a file that `save` wrote."""
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


def read_head_table(
    reader: ListReader,
    lists: Sequence[LabelledList],
    heads: Sequence[Head],
    *,
    seeds: Sequence[int],
    filtered: bool = False,
    on_list: Callable[[], object] | None = None,
) -> HeadTable:
    """Run the model on labelled lists and average the head scores over shuffled context orders.

    Lists of a single grade are left out. Each other list is read in one context order per seed.

    Args:
        reader: runs the model.
        lists: the labelled lists.
        heads: the heads to score.
        seeds: the seeds of the context orders, at least one.
        filtered: whether to compute token-filtered scores too, for criteria with ICR's token filter.
        on_list: called after each list and order, for instance to advance a progress bar; None: nothing is called.

    Returns:
        The table, with its lists in the order of `lists`.

    Raises:
        ValueError: `seeds` is empty, or no list has two grades.
    """
    if not seeds:
        raise ValueError("seeds is empty; expected at least one seed of a shuffled context order")
    kept = usable_lists(lists)
    if len(kept) < len(lists):
        logger.info("%d of %d labelled lists have a single grade and are not used", len(lists) - len(kept), len(lists))
    if not kept:
        raise ValueError(
            "head selection expected lists with candidates of two different grades, found none among "
            f"{len(lists)} labelled lists"
        )
    seeds = distinct_seeds(reader.prompts.settings, seeds)
    jobs = [(n, seed) for n in range(len(kept)) for seed in seeds]
    items = [labelled.item for labelled in kept]
    orders = [shuffled_order(items[n], seed) for n, seed in jobs]
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
    results = []
    for n, labelled in enumerate(kept):
        means = [part / len(seeds) for part in sums[n]]
        head_scores = HeadScores(tuple(heads), means[0], means[1], lengths[n])
        per_token = means[2] if filtered else None
        per_order = torch.stack([contexts[n, seed] for seed in seeds]) if len(seeds) > 1 else None
        grades, threshold = torch.tensor(labelled.grades), labelled.relevance_threshold
        results.append(LabelledScores(labelled.item.query.id, grades, head_scores, per_token, threshold, per_order))
    return HeadTable(tuple(heads), tuple(results))


def distinct_seeds(prompt: PromptSettings, seeds: Sequence[int]) -> Sequence[int]:
    """Return the seeds whose context orders give different scores.

    If the prompt is in blocks (passages do not attend to each other), the order has no effect and only the first seed
    is returned. Otherwise all seeds are returned.
    """
    return seeds[:1] if prompt.in_blocks else seeds


def _inverse(order: Sequence[int]) -> Tensor:
    return torch.argsort(torch.tensor(list(order)))


def _filtered_per_head(scores: HeadScores) -> Float[Tensor, "heads docs"]:
    tokens = scores.tokens
    assert tokens is not None
    assert tokens.null is not None
    return filter_tokens(tokens.query - tokens.null, tokens.passage, len(scores.lengths))
