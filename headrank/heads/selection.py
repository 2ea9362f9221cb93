"""Select heads by a criterion, and measure ranking quality against the number of heads and of layers.

Everything is computed from the head table, without a forward pass. Quality is cross-validated: each list is scored by
heads that were selected on the other folds, because quality on the same lists overstates the gain of more heads. Ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from headrank.heads.criteria import Criterion, EntropyRegularized, mean_discriminability, mean_entropy
from headrank.heads.measures import ndcg
from headrank.heads.table import HeadTable
from headrank.model.calibration import CalibrationSettings, passage_scores
from headrank.model.head_scores import Head

FOLDS = 5


def head_curves(
    table: HeadTable, criterion: Criterion, settings: CalibrationSettings, *, count: int, depth: int, seed: int = 0
) -> dict[str, Any]:
    """Measure cross-validated nDCG@10 against the number of heads and against the number of layers.

    nDCG@10 is the mean over lists, with the ideal order within the list. The first curve uses the best 1, 2, 4, ...
    heads of all layers. The second uses the best `count` heads of the first 1, 2, 3, ... layers. A point is omitted if
    the criterion leaves too few heads in any fold. Both curves are empty if the criterion needs no labels, if the table
    has fewer than two lists, and if the lists outside a fold lack what the criterion needs. The token filter is not
    applied, because the table contains no tokens.

    Args:
        table: the head table.
        criterion: the criterion that selects heads.
        settings: the calibration of the scorer that uses the heads.
        count: the number of heads that the system uses.
        depth: the number of layers that the system computes.
        seed: the seed of the folds.

    Returns:
        Plain values: `heads` and `depth` hold [number, nDCG@10] pairs; `used` contains `count` and `depth`; `lists`,
            `folds` and `criterion` describe the measurement.
    """
    folds = min(FOLDS, len(table.lists))
    layers = max(head.layer for head in table.heads) + 1
    points = [("heads", n) for n in _numbers(len(table.heads), count)] + [("depth", n + 1) for n in range(layers)]
    curves: dict[str, list[list[float]]] = {"heads": [], "depth": []}
    if criterion.needs_labels and folds > 1:
        values: dict[tuple[str, int], list[float]] = {point: [] for point in points}
        unfiltered = replace(settings, token_filter=False)
        for rest, held_out in table.folds(folds, seed):
            ranked = _ranked(rest, criterion, settings)
            for kind, n in points:
                heads = ranked[:n] if kind == "heads" else [h for h in ranked if table.heads[h].layer < n][:count]
                if len(heads) < (n if kind == "heads" else count):
                    values.pop((kind, n), None)
                if (kind, n) not in values:
                    continue
                picked = [table.heads[h] for h in heads]
                for item in held_out:
                    z = passage_scores(item.scores.pick(picked), unfiltered)
                    values[kind, n].append(float(ndcg(z[None], item.grades)[0]))
        for (kind, n), ndcgs in values.items():
            curves[kind].append([n, sum(ndcgs) / len(ndcgs)])
    return {
        **curves,
        "used": {"heads": count, "depth": depth},
        "lists": len(table.lists),
        "folds": folds,
        "criterion": criterion.name,
    }


def _numbers(heads: int, count: int) -> Sequence[int]:
    """The powers of two up to the number of heads, and the number in use."""
    powers = {2**i for i in range(heads.bit_length()) if 2**i <= heads}
    return sorted(powers | {count})


def _ranked(table: HeadTable, criterion: Criterion, settings: CalibrationSettings) -> list[int]:
    """Indices of the table's heads, best first, ranked by the criterion."""
    try:
        score = criterion(table, settings).float()
    except ValueError:  # for instance no list with relevant and irrelevant passages: no heads, so no points
        return []
    eligible = [i for i in range(len(table.heads)) if score[i] > float("-inf")]
    return sorted(eligible, key=lambda i: (-float(score[i]), table.heads[i]))


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected heads, and the measures of every head of the table.

    heads: the selected heads, best first.
    table_heads: the heads of the table, in the order of the measures below.
    score: [heads], the criterion's scores.
    discriminability, entropy: [heads], means over the labelled lists; None if no labelled list was read.
    """

    heads: tuple[Head, ...]
    table_heads: tuple[Head, ...]
    score: Float[Tensor, " heads"]
    discriminability: Float[Tensor, " heads"] | None
    entropy: Float[Tensor, " heads"] | None

    @property
    def depth(self) -> int:
        """The number of layers to compute: the index (from 0) of the deepest selected layer, plus 1."""
        return max(head.layer for head in self.heads) + 1


def select_heads(
    table: HeadTable, criterion: Criterion, settings: CalibrationSettings, *, count: int | None = None
) -> Selection:
    """Select the heads with the highest scores by a criterion. Ties go to the lower layer, then to the lower head.

    Args:
        table: the head table.
        criterion: scores the heads.
        settings: the calibration of the scorer that will use the heads.
        count: the number of heads; None: the criterion's own `count`. If that is None too, all heads that score above
            -inf.

    Returns:
        The selected heads and the measures of all heads.

    Raises:
        ValueError: the criterion leaves fewer than `count` heads, returns NaN, or needs labelled lists and the table
            has none.
    """
    if criterion.needs_labels and not table.lists:
        raise ValueError(f"criterion {criterion.name}: expected labelled lists, the head table has none")
    score = criterion(table, settings).float()
    if score.isnan().any():
        raise ValueError(
            f"criterion {criterion.name}: expected numbers, found NaN for {int(score.isnan().sum())} heads"
        )
    expected = count if count is not None else criterion.count
    eligible = [i for i in range(len(table.heads)) if score[i] > float("-inf")]
    if expected is not None and not 1 <= expected <= len(eligible):
        raise ValueError(f"expected {expected} heads, criterion {criterion.name} leaves {len(eligible)} to choose from")
    ranked = sorted(eligible, key=lambda i: (-float(score[i]), table.heads[i]))
    labelled = bool(table.lists)
    return Selection(
        tuple(table.heads[i] for i in ranked[:expected]),
        table.heads,
        score,
        mean_discriminability(table, settings) if labelled else None,
        mean_entropy(table) if labelled else None,
    )


def choose_entropy_weight(
    table: HeadTable,
    criterion: EntropyRegularized,
    settings: CalibrationSettings,
    *,
    weights: Sequence[float] = (0.0, 0.05, 0.1, 0.2, 0.3),
    count: int | None = None,
    folds: int = 5,
    seed: int = 0,
) -> tuple[float, dict[float, float]]:
    """Choose the weight of the entropy penalty (`EntropyRegularized.weight`) by cross-validation over queries.

    The weight with the highest nDCG@10 is chosen. Ties go to the smaller weight. The token filter is not applied,
    because the table contains no tokens.

    Args:
        table: the head table.
        criterion: the criterion whose `weight` is chosen.
        settings: the calibration of the scorer that uses the heads.
        weights: the weights to compare.
        count: the number of heads; None: the criterion's own `count`.
        folds: the number of folds.
        seed: the seed of the folds.

    Returns:
        The best weight, and weight -> mean nDCG@10 on held-out lists.

    Raises:
        ValueError: the table has fewer lists than folds.
    """
    if len(table.lists) < folds:
        raise ValueError(f"{len(table.lists)} labelled lists for {folds} folds; expected at least one list per fold")
    unfiltered = replace(settings, token_filter=False)
    results: dict[float, float] = {}
    for weight in sorted(weights):
        values: list[Tensor] = []
        for rest, held_out in table.folds(folds, seed):
            chosen = select_heads(rest, replace(criterion, weight=weight), settings, count=count).heads
            for item in held_out:
                z = passage_scores(item.scores.pick(chosen), unfiltered)
                values.append(ndcg(z[None], item.grades)[0])
        results[weight] = float(torch.stack(values).mean())
    best = max(results, key=lambda weight: (results[weight], -weight))
    return best, results
