"""Selection: from a criterion's judgement of every head to the heads that are used, and the depth they need."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from headrank.heads.criteria import Criterion, EntropyRegularized, mean_discriminability, mean_entropy
from headrank.heads.measures import ndcg
from headrank.heads.table import HeadCalibration, HeadTable
from headrank.model.calibration import Calibration, LengthNorm
from headrank.model.head_scores import Head
from headrank.model.scorer import ScorerSettings


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen heads, best first, and what was measured of every head of the table.

    `discriminability` and `entropy` are None where no labelled list was read.
    """

    heads: tuple[Head, ...]
    table_heads: tuple[Head, ...]
    score: Float[Tensor, " heads"]
    discriminability: Float[Tensor, " heads"] | None
    entropy: Float[Tensor, " heads"] | None

    @property
    def depth(self) -> int:
        """Layers that have to be computed: the deepest chosen layer + 1."""
        return max(head.layer for head in self.heads) + 1


def calibration_of(settings: ScorerSettings) -> HeadCalibration:
    """The per-head calibration that goes with a scorer's settings."""
    return HeadCalibration(
        Calibration(settings.calibration), settings.power, LengthNorm(settings.length_norm), settings.eps
    )


def select_heads(
    table: HeadTable, criterion: Criterion, calibrate: HeadCalibration, *, count: int | None = None
) -> Selection:
    """The `count` best heads by a criterion (None: as many as its authors take); ties go to the lower layer and head.

    Raises `ValueError` if the criterion leaves fewer heads than requested, or needs labels and has none.
    """
    if criterion.needs_labels and not table.lists:
        raise ValueError(f"criterion {criterion.name} needs labelled lists, the head table has none")
    score = criterion(table, calibrate).float()
    if score.isnan().any():
        raise ValueError(f"criterion {criterion.name} gave NaN for {int(score.isnan().sum())} heads")
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
        mean_discriminability(table, calibrate) if labelled else None,
        mean_entropy(table) if labelled else None,
    )


def choose_entropy_weight(
    table: HeadTable,
    criterion: EntropyRegularized,
    settings: ScorerSettings,
    *,
    weights: Sequence[float] = (0.0, 0.05, 0.1, 0.2, 0.3),
    count: int | None = None,
    folds: int = 5,
    seed: int = 0,
) -> tuple[float, dict[float, float]]:
    """The entropy weight whose heads rank held-out labelled lists best, and the mean nDCG@10 of each weight.

    Cross-validation over queries: heads are chosen on the other folds, scored on the fold. Ties go to the smaller
    weight. The token filter is left out here: the table holds no tokens. Raises `ValueError` with fewer lists than
    folds.
    """
    lists = table.lists
    if len(lists) < folds:
        raise ValueError(f"{len(lists)} labelled lists cannot be split into {folds} folds")
    calibrate = calibration_of(settings)
    scorer = replace(settings, token_filter=False)
    shuffled = torch.randperm(len(lists), generator=torch.Generator().manual_seed(seed)).tolist()
    results: dict[float, float] = {}
    for weight in sorted(weights):
        values: list[Tensor] = []
        for fold in range(folds):
            held_out = set(shuffled[fold::folds])
            rest = HeadTable(table.heads, tuple(x for i, x in enumerate(lists) if i not in held_out))
            chosen = select_heads(rest, replace(criterion, weight=weight), calibrate, count=count).heads
            for i in sorted(held_out):
                z = scorer.passage_scores(lists[i].scores.pick(chosen))
                values.append(ndcg(z[None], lists[i].grades)[0])
        results[weight] = float(torch.stack(values).mean())
    best = max(results, key=lambda weight: (results[weight], -weight))
    return best, results
