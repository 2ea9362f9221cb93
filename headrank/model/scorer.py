"""Compute passage scores and rankings of candidate lists.

Selection, training, reranking and serving use the same path. ICR, QRHead, CoRe and Selective-ICR differ from HeadRank
only in their heads and settings, not in code.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from headrank.errors import ModelError
from headrank.model.backbone import Backbone
from headrank.model.batching import BatchSettings
from headrank.model.blocks.store import PassageStates, StateSettings
from headrank.model.calibration import Calibration, CalibrationSettings, LengthNorm, passage_scores
from headrank.model.chat_templates import check_embeddings
from headrank.model.cost import backbone_shape, fully_computed_layers, reading_flops
from headrank.model.fusion import FusionWeight, fuse_first_stage
from headrank.model.head_scores import Head, check_heads
from headrank.model.pieces import PieceMaker, Pieces
from headrank.model.prompt import ROWS, Prompt, PromptBuilder, PromptSettings
from headrank.model.reader import ListReader, Reading
from headrank.ranking import CandidateList, ContextOrder, ContextScores, Order, Ranking
from headrank.settings import Ge, one_of, one_of_or_object, settings, with_target, without_target, wrong

BATCHING = ("batch_size", "tokens_per_batch")
"""The settings of a scorer that affect cost and memory but no score."""


@settings
class ScorerSettings(CalibrationSettings):
    """The settings of a scorer, in addition to those of the calibration. The defaults are this project's."""

    # query | instruction | end_of_turn | suffix | published: see `Tail.rows`
    query_rows: Annotated[str, one_of(ROWS)] = "query"
    fusion: FusionWeight = 0.0  # weight of the first stage's rank; 0: none | auto: fitted on the labelled lists
    order: Annotated[str | ContextOrder, one_of_or_object(Order, ContextOrder)] = "first_stage"
    seed: int = 0  # of shuffled orders
    shuffles: Annotated[int, Ge(1)] = 1  # with order shuffled: z is the mean over this number of orders
    window: Annotated[int, Ge(2)] | None = None  # passages per prompt; None: as many as the context holds
    # first: only the beginning of a passage is read | max: all chunks of `max_passage_tokens`; the best one counts
    long_passages: Annotated[str, one_of(("first", "max"))] = "first"
    batch_size: Annotated[int, Ge(1)] = 64  # maximum lists per forward pass; lists of the same passages count as one
    tokens_per_batch: Annotated[int, Ge(1)] = 16384  # maximum tokens per forward pass; a longer list gets its own pass

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shuffles > 1 and self.order != Order.SHUFFLED:
            raise wrong("shuffles", self.shuffles, "1, or order: shuffled")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON."""
        return {one.name: with_target(getattr(self, one.name)) for one in fields(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ScorerSettings":
        """Create settings from the result of `to_dict`.

        Raises `ConfigError` for wrong values and for classes that are not imported.
        """
        objects = {"calibration": Calibration, "length_norm": LengthNorm, "order": ContextOrder}
        found = {name: without_target(content[name], kind) for name, kind in objects.items() if name in content}
        return cls(**{**content, **found})

    @property
    def fusion_weight(self) -> float:
        """`fusion` as a number. Raises `ConfigError` if it is `auto` and has not been fitted."""
        if isinstance(self.fusion, str):
            raise wrong("fusion", self.fusion, "a number: only head selection, in an experiment, fits the weight")
        return self.fusion

    @property
    def identity(self) -> dict[str, Any]:
        """The settings on which scores depend, as plain values: all except those of batching."""
        return {name: value for name, value in self.to_dict().items() if name not in BATCHING}


@dataclass(frozen=True, slots=True)
class ScoredList:
    """A reranked candidate list: its ranking, and its scores and attention masses in context order."""

    ranking: Ranking
    context: ContextScores
    tokens: int  # of prefix and tails, over all orders; a prompt for several queries is shared equally
    flops: int  # floating-point operations of the reading; with stored states those of the tails alone
    cut: tuple[str, ...] = ()  # ids of the passages that were cut to `prompt.max_passage_tokens`
    query_cut: bool = False  # whether the query was cut to `prompt.max_query_tokens`
    windows: int = 1  # the number of prompts over which the list was spread, in each context order
    unfused: tuple[float, ...] | None = None  # with fusion: z in context order, before the first stage was added


class Scorer:
    """Reranks candidate lists with given heads of a backbone.

    weights: the weight of each head in z; None: 1 each. states: the folder in which passage states are stored, for
    prompts in blocks; None: states are not stored.

    Raises `ModelError` at construction if the heads do not fit the backbone, and `ValueError` if `weights` does not
    have one number per head. Errors of `PassageStates` propagate.
    """

    def __init__(
        self,
        backbone: Backbone,
        heads: Sequence[Head],
        *,
        weights: Sequence[float] | None = None,
        prompt: PromptSettings | None = None,
        settings: ScorerSettings | None = None,
        states: StateSettings | None = None,
    ) -> None:
        self.heads = tuple(heads)
        check_heads(self.heads, layers=backbone.depth, heads_per_layer=backbone.heads_per_layer)
        if weights is not None and len(weights) != len(self.heads):
            raise ValueError(f"{len(weights)} weights for {len(self.heads)} heads; expected one per head")
        self.settings = settings or ScorerSettings()
        self.fusion_weight = self.settings.fusion_weight
        self._shape = backbone_shape(backbone)
        self.weights = None if weights is None else torch.tensor(list(weights), dtype=torch.float32)
        prompts = PromptBuilder(backbone.tokenizer, prompt)
        check_embeddings(prompts.chat_template, backbone.tokenizer, backbone.config)
        self.reader = ListReader(
            backbone,
            prompts,
            self.settings.query_rows,
            BatchSettings(self.settings.batch_size, self.settings.tokens_per_batch),
            None if states is None else PassageStates(backbone, self.heads, prompts, states),
        )
        self.maker = PieceMaker(
            prompts,
            with_null=self.settings.needs_null,
            context=backbone.max_tokens,
            window=self.settings.window,
            chunk=self.settings.long_passages == "max",
        )

    def score(self, lists: Sequence[CandidateList], *, on_list: Callable[[], object] | None = None) -> list[ScoredList]:
        """Rerank each candidate list. Results are in the order of `lists`, equal scores in first-stage order.

        `on_list` is called after each list (for a progress bar). A list without candidates gives an empty ranking. If a
        list has several windows, its best passages are read once more in a single window and come first. This second
        reading is left out with fusion, which needs the ranks of the whole list. Raises `ModelError` if a score is NaN
        or infinite.
        """
        results = self._read(lists, on_list)
        long = [n for n, one in enumerate(results) if self.is_read_again(lists[n], one)]
        again = self._read([best_passages(lists[n], results[n]) for n in long]) if long else []
        for n, one in zip(long, again, strict=True):
            results[n] = read_again(lists[n], results[n], one)
        return results

    def is_read_again(self, item: CandidateList, scored: ScoredList) -> bool:
        """Whether the best passages of the list (`best_passages`) are read once more."""
        return len(item) > scored.windows > 1 and not self.fusion_weight

    def _read(self, lists: Sequence[CandidateList], on_list: Callable[[], object] | None = None) -> list[ScoredList]:
        s = self.settings
        cut = [self.maker.pieces(item, s.order, s.seed, s.shuffles) for item in lists]
        jobs = [(n, p, piece) for n, one in enumerate(cut) for p, pieces in enumerate(one.passes) for piece in pieces]
        readings = self.reader.read(
            [piece.item for *_, piece in jobs],
            [piece.order for *_, piece in jobs],
            self.heads,
            with_null=s.needs_null,
            per_token=s.token_filter,
        )
        found = [_Scores(len(item), len(one.passes)) for item, one in zip(lists, cut, strict=True)]
        left = Counter(number for number, *_ in jobs)
        if on_list is not None:
            for _ in (item for item in lists if not len(item)):  # nothing to read
                on_list()
        for reading in readings:
            number, pass_number, piece = jobs[reading.number]
            z = passage_scores(reading.scores, s, self.weights).float().cpu()
            found[number].add(pass_number, piece.owners, reading, z, self._flops(reading.prompt))
            left[number] -= 1
            if on_list is not None and not left[number]:
                on_list()
        return [self._finish(item, scores, one) for item, scores, one in zip(lists, found, cut, strict=True)]

    def _flops(self, prompt: Prompt) -> int:
        return reading_flops(
            self._shape,
            prompt,
            self.heads,
            query_rows=self.settings.query_rows,
            depth=fully_computed_layers(self.reader.backbone),
            stored=self.reader.states is not None,
        ).total

    def _finish(self, item: CandidateList, found: "_Scores", pieces: Pieces) -> ScoredList:
        z, ids, order, weight = found.z.sum(0), item.passage_ids, pieces.context, self.fusion_weight
        scores, mass = (fuse_first_stage(z, weight) if weight else z).tolist(), found.masses.sum(0).tolist()
        for passage_id, score in zip(ids, z.tolist(), strict=True):  # z: fusion would hide NaN
            if not math.isfinite(score):
                model = self.reader.backbone.settings
                raise ModelError(
                    f"{model.model}: query {item.query.id!r}, passage {passage_id!r}: score {score}, expected a finite "
                    f"number. Its weights are damaged, or its numbers are too large for model.dtype={model.dtype}: try "
                    "float32"
                )
        context = ContextScores(
            item.query.id, tuple(ids[i] for i in order), tuple(scores[i] for i in order), tuple(mass[i] for i in order)
        )
        return ScoredList(
            Ranking.from_scores(item.query.id, ids, scores),
            context,
            found.tokens,
            found.flops,
            tuple(ids[i] for i in sorted(found.cut)),
            found.query_cut,
            len(pieces.passes[0]),
            tuple(z[list(order)].tolist()) if weight else None,
        )


def best_passages(item: CandidateList, scored: ScoredList) -> CandidateList:
    """Return the best passages of a candidate list, as many as one window holds, in first-stage order.

    item: the list. scored: its scores and its number of windows.
    """
    best = set(scored.ranking.passage_ids[: -(-len(item) // scored.windows)])
    kept = [i for i, passage in enumerate(item.passage_ids) if passage in best]
    return item.subset(kept)


def read_again(item: CandidateList, scored: ScoredList, best: ScoredList) -> ScoredList:
    """Return the scored list with the new scores of its best passages, which come first.

    A constant is subtracted from the scores of the others, so that all are below those of the best passages.

    item: the candidate list. scored: its scores from several windows. best: the scored list of `best_passages`.
    """
    scores = {one.id: one.score for one in best.ranking.results}
    rest = [one for one in scored.ranking.results if one.id not in scores]
    low, top = min(scores.values()), rest[0].score
    shift = max(0.0, top - low + 4 * math.ulp(max(abs(top), abs(low), abs(top - low))))  # 4: rounding must not undo it
    scores |= {one.id: one.score - shift for one in rest}
    ids, order = item.passage_ids, scored.context.passage_ids
    return replace(
        scored,
        ranking=Ranking.from_scores(item.query.id, ids, [scores[i] for i in ids]),
        context=replace(scored.context, scores=tuple(scores[i] for i in order)),
        tokens=scored.tokens + best.tokens,
        flops=scored.flops + best.flops,
    )


class _Scores:
    """Collects the readings of one list. z and masses: [orders, docs], each order's share of the mean."""

    def __init__(self, passages: int, orders: int) -> None:
        self.z = torch.full((orders, passages), -torch.inf)
        self.masses = torch.zeros(orders, passages)
        self.tokens = self.flops = 0
        self.cut: set[int] = set()
        self.query_cut = False

    def add(self, order: int, owners: Sequence[int], reading: Reading, z: Float[Tensor, " docs"], flops: int) -> None:
        """Add a reading in one of the orders. A passage in several chunks has the z of its best one."""
        index, orders = torch.tensor([owners[i] for i in reading.order]), len(self.z)
        self.z[order].scatter_reduce_(0, index, z / orders, "amax")
        self.masses[order].index_add_(0, index, reading.scores.query.sum(0).float().cpu() / orders)
        self.tokens += round(len(reading.prompt) / reading.prompt.queries)
        self.flops += round(flops / reading.prompt.queries)
        self.cut.update(owners[i] for i in reading.cut)
        self.query_cut |= reading.query_cut
