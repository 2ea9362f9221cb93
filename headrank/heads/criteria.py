"""Criteria that score attention heads on labelled lists. All have the interface `Criterion`.

A criterion takes the head table (`headrank.heads.table`) and the calibration of the scorer that will use the heads. It
returns one number per head; higher is better, and -inf excludes a head. Its `count` is the number of heads to select,
by default that of the original paper; None selects every head that is not excluded.
"""

import random
from collections.abc import Sequence
from typing import Annotated, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from headrank.data.labelled import LabelledList, usable_lists
from headrank.errors import ConfigError
from headrank.heads.measures import discriminability, entropy, ndcg
from headrank.heads.table import HeadTable, LabelledScores
from headrank.model.calibration import CalibrationSettings, head_calibrated
from headrank.model.head_scores import Head
from headrank.settings import Ge, Gt, Listed, settings, wrong


@runtime_checkable
class Criterion(Protocol):
    """The interface of a head criterion, which scores the heads of a table."""

    name: ClassVar[str]
    needs_labels: ClassVar[bool]  # False: heads are selected from the model's shape alone
    needs_filtered: ClassVar[bool]  # True: the table must contain token-filtered scores

    @property
    def count(self) -> int | None:
        """The number of heads to select, by default that of the original paper. None: all heads not excluded."""
        ...

    def __call__(self, table: HeadTable, settings: CalibrationSettings) -> Float[Tensor, " heads"]:
        """Score the heads.

        Args:
            table: the head scores on labelled lists.
            settings: the calibration of the scorer that will use the heads.

        Returns:
            [heads], in the order of `table.heads`; higher is better, -inf excludes a head.
        """
        ...


@settings
class EntropyRegularized:
    """Discriminability minus a penalty for entropy and, optionally, for depth.

    The score of head h in layer l (from 0) is disc_h - weight * H_h - depth_price * l / L. disc_h is its mean
    `discriminability` and H_h the mean `entropy` of its scores, both over the lists; L is the number of layers in the
    table. The paper (arXiv 2604.17237) names the first two terms; the formula is ours. A positive `depth_price` selects
    heads in fewer layers at some cost in discriminability.
    """

    name: ClassVar[str] = "entropy_regularized"
    needs_labels: ClassVar[bool] = True
    needs_filtered: ClassVar[bool] = False
    weight: Annotated[float, Ge(0)] = 0.1
    depth_price: float = 0.0
    count: Annotated[int, Ge(1)] | None = 8

    def __call__(self, table: HeadTable, settings: CalibrationSettings) -> Float[Tensor, " heads"]:
        """Score the heads by the formula of the class. See `Criterion.__call__`."""
        layers = torch.tensor([head.layer for head in table.heads]).float()
        price = self.depth_price * layers / (layers.max() + 1)
        return mean_discriminability(table, settings) - self.weight * mean_entropy(table) - price


@settings
class Contrastive:
    """CoRe's criterion (arXiv 2510.02219): the softmax weight of relevant against irrelevant passages.

    A relevant passage has the value exp(s+/t) / (exp(s+/t) + sum exp(s-/t)): s+ is a head's uncalibrated attention mass
    on it, the sum runs over the masses s- on irrelevant passages, and t is `temperature`. The score of a head is the
    mean over labelled lists, context orders and relevant passages.

    CoRe's lists have one relevant passage and labelled hard negatives. Here each passage at or above the relevance
    threshold is contrasted with all passages below it. A passage's mass covers all its tokens; in CoRe's code the last
    token of a passage is missing on Mistral. CoRe's temperature is 0.1 for Llama and Phi, and 0.001 for every other
    model.
    """

    name: ClassVar[str] = "contrastive"
    needs_labels: ClassVar[bool] = True
    needs_filtered: ClassVar[bool] = False
    temperature: Annotated[float, Gt(0)] = 0.001  # attention mass
    count: Annotated[int, Ge(1)] | None = 8

    def __call__(self, table: HeadTable, settings: CalibrationSettings) -> Float[Tensor, " heads"]:
        """Score the heads by the formula of the class, with the softmax before the means. See `Criterion.__call__`.

        Lists without a relevant or without an irrelevant passage are left out. Raises `ValueError` if no list is left.
        """
        values = []
        for item, relevant in _with_both(table):
            logits = item.context_scores.float() / self.temperature
            positive = logits[:, :, relevant]
            negative = logits[:, :, ~relevant].logsumexp(2, keepdim=True)
            values.append(torch.sigmoid(positive - negative).mean((0, 2)))
        return torch.stack(values).mean(0)


@settings
class QueryFocused:
    """The criterion of QRHead's paper (arXiv 2506.09944): the mean attention mass of a head on relevant passages.

    The null query's mass is subtracted, and ICR's token filter is applied.
    """

    name: ClassVar[str] = "query_focused"
    needs_labels: ClassVar[bool] = True
    needs_filtered: ClassVar[bool] = True
    count: Annotated[int, Ge(1)] | None = 16

    def __call__(self, table: HeadTable, settings: CalibrationSettings) -> Float[Tensor, " heads"]:
        """Score each head by its mean over relevant passages, then over lists that have one. See `Criterion.__call__`.

        Raises `ValueError` if no list has a relevant passage, or if the table has no token-filtered scores.
        """
        values = []
        for item in table.lists:
            relevant = item.relevant
            if item.filtered is None:
                raise ValueError(
                    "criterion query_focused: expected a head table with token-filtered scores, found none"
                )
            if relevant.any():
                values.append(item.filtered[:, relevant].mean(1))
        if not values:
            raise ValueError(
                "expected a labelled list with a relevant candidate, found none at the relevance threshold "
                f"({_thresholds(table)}); lower data.<set>.relevance_threshold, or add lists with relevant candidates"
            )
        return torch.stack(values).mean(0)


@settings
class PerHeadNdcg:
    """The criterion of QRHead's released script: nDCG@cutoff of the ranking by each head alone.

    Here each head is ranked by its scores after the scorer's calibration.
    """

    name: ClassVar[str] = "per_head_ndcg"
    needs_labels: ClassVar[bool] = True
    needs_filtered: ClassVar[bool] = False
    cutoff: Annotated[int, Ge(1)] = 10
    count: Annotated[int, Ge(1)] | None = 16

    def __call__(self, table: HeadTable, settings: CalibrationSettings) -> Float[Tensor, " heads"]:
        """Score each head by its mean nDCG@cutoff over the lists. See `Criterion.__call__`."""
        return torch.stack(
            [ndcg(head_calibrated(x.scores, settings), x.grades, self.cutoff) for x in table.lists]
        ).mean(0)


@settings
class AllHeads:
    """Selects every head of every layer, as ICR does (arXiv 2410.02642); `count`: the first of the lowest layers."""

    name: ClassVar[str] = "all"
    needs_labels: ClassVar[bool] = False
    needs_filtered: ClassVar[bool] = False
    count: Annotated[int, Ge(1)] | None = None

    def __call__(self, table: HeadTable, settings: CalibrationSettings) -> Float[Tensor, " heads"]:
        """Give every head the score 0. See `Criterion.__call__`."""
        return torch.zeros(len(table.heads))


@settings
class LayerWindow:
    """Selects every head of `layers` consecutive layers, as Selective-ICR does.

    The choice of the layers is ours: those whose heads have the highest mean discriminability.
    """

    name: ClassVar[str] = "layer_window"
    needs_labels: ClassVar[bool] = True
    needs_filtered: ClassVar[bool] = False
    layers: Annotated[int, Ge(1)] = 4
    count: Annotated[int, Ge(1)] | None = None

    def __call__(self, table: HeadTable, settings: CalibrationSettings) -> Float[Tensor, " heads"]:
        """Score heads of the chosen layers by discriminability, all others by -inf. See `Criterion.__call__`."""
        disc = mean_discriminability(table, settings)
        layer = torch.tensor([head.layer for head in table.heads])
        last = int(layer.max()) + 1
        size = min(self.layers, last)
        means = [disc[(layer >= start) & (layer < start + size)].mean() for start in range(last - size + 1)]
        start = int(torch.stack(means).argmax())
        return disc.masked_fill((layer < start) | (layer >= start + size), float("-inf"))


@settings
class RandomHeads:
    """Selects random heads: the control that every other criterion must beat."""

    name: ClassVar[str] = "random"
    needs_labels: ClassVar[bool] = False
    needs_filtered: ClassVar[bool] = False
    seed: int = 0
    count: Annotated[int, Ge(1)] | None = 8

    def __call__(self, table: HeadTable, settings: CalibrationSettings) -> Float[Tensor, " heads"]:
        """Give the heads the scores 0, 1, 2, ... in random order. See `Criterion.__call__`."""
        ranks = list(range(len(table.heads)))
        random.Random(self.seed).shuffle(ranks)
        return torch.tensor(ranks).float()


@settings
class GivenHeads:
    """Selects a given set of heads, as [layer, head] pairs from 0, such as published ones."""

    name: ClassVar[str] = "given"
    needs_labels: ClassVar[bool] = False
    needs_filtered: ClassVar[bool] = False
    heads: Listed[Listed[Annotated[int, Ge(0)]]] = ()
    count: Annotated[int, Ge(1)] | None = None

    def __post_init__(self) -> None:
        pairs = [list(pair) for pair in self.heads]
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise wrong("heads", pairs, "[layer, head] pairs, such as [[21, 8], [17, 25]]")
        for pair in pairs:
            if pairs.count(pair) > 1:
                raise wrong("heads", pair, "each head once")

    def __call__(self, table: HeadTable, settings: CalibrationSettings) -> Float[Tensor, " heads"]:
        """Give the given heads the score 0, all others -inf. See `Criterion.__call__`.

        Raises `ValueError` if a given head is not in the table.
        """
        given = {Head(int(layer), int(head)) for layer, head in self.heads}
        missing = sorted(given - set(table.heads))
        if missing or not given:
            raise ValueError(f"given heads {[tuple(h) for h in missing] or 'none'}: the model has no such heads")
        return torch.tensor([0.0 if head in given else float("-inf") for head in table.heads])


def check_labels(criterion: Criterion, lists: Sequence[LabelledList]) -> None:
    """Raise `ConfigError` if the criterion cannot select heads with these labelled lists. No model is run."""
    if not criterion.needs_labels:
        return
    usable = usable_lists(lists)
    if not usable:
        raise ConfigError(
            f"data: none of {len(lists)} labelled lists has candidates of two different grades; expected lists with "
            "judged passages of different grades (unjudged passages count as 0)"
        )
    if isinstance(criterion, Contrastive | QueryFocused):
        relevant = [[grade >= labelled.relevance_threshold for grade in labelled.grades] for labelled in usable]
        if not any(any(flags) and not (isinstance(criterion, Contrastive) and all(flags)) for flags in relevant):
            thresholds = ", ".join(map(str, sorted({labelled.relevance_threshold for labelled in usable})))
            raise ConfigError(
                f"data.<set>.relevance_threshold is {thresholds}; criterion {criterion.name} expected a list with a "
                f"relevant candidate (contrastive: and an irrelevant one), found none among {len(usable)} lists"
            )


def mean_discriminability(table: HeadTable, settings: CalibrationSettings) -> Float[Tensor, " heads"]:
    """Return the mean of each head's `discriminability` over the table's lists, after calibration: [heads]."""
    return torch.stack([discriminability(head_calibrated(x.scores, settings), x.grades) for x in table.lists]).mean(0)


def mean_entropy(table: HeadTable) -> Float[Tensor, " heads"]:
    """Return the mean `entropy` of each head's uncalibrated scores over the table's lists: [heads]."""
    return torch.stack([entropy(x.scores.query) for x in table.lists]).mean(0)


def _with_both(table: HeadTable) -> list[tuple[LabelledScores, Tensor]]:
    pairs = [(item, item.relevant) for item in table.lists]
    both = [(item, relevant) for item, relevant in pairs if relevant.any() and not relevant.all()]
    if not both:
        raise ValueError(
            "expected a labelled list with relevant and irrelevant candidates, found none at the relevance threshold "
            f"({_thresholds(table)}); change data.<set>.relevance_threshold, or add such lists"
        )
    return both


def _thresholds(table: HeadTable) -> str:
    return ", ".join(map(str, sorted({item.relevance_threshold for item in table.lists})))
