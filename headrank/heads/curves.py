"""Quality on the labelled lists against how many heads are used and how deep they may lie: what another head, and what
another layer, is worth.

Of the head table alone, so it costs no forward pass. Each list is scored by heads that the criterion chose on the other
folds: in-sample, more heads would always look good. Ours.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from headrank.heads.criteria import Criterion
from headrank.heads.measures import ndcg
from headrank.heads.selection import calibration_of
from headrank.heads.table import HeadTable
from headrank.model.scorer import ScorerSettings

FOLDS = 5


def head_curves(
    table: HeadTable, criterion: Criterion, settings: ScorerSettings, *, count: int, depth: int, seed: int = 0
) -> dict[str, Any]:
    """nDCG@10 (ideal order within the list) of the best 1, 2, 4, ... heads of all layers, and of the best `count` heads
    of the first 1, 2, 3, ... layers, averaged over the lists.

    count, depth: how many heads are used, within how many layers; noted beside the curves.

    Plain values: `heads` and `depth` are lists of [number, nDCG@10], `used` holds `count` and `depth`; `lists`, `folds`
    and `criterion` say what was done. Points that the criterion leaves too few heads for, in any fold, are left out,
    all of them where a fold lacks what the criterion needs; both curves are empty for a criterion without labels or
    fewer than two lists. The token filter is left out: the table holds no tokens.
    """
    folds = min(FOLDS, len(table.lists))
    layers = max(head.layer for head in table.heads) + 1
    points = [("heads", n) for n in _numbers(len(table.heads), count)] + [("depth", n + 1) for n in range(layers)]
    found: dict[str, list[list[float]]] = {"heads": [], "depth": []}
    if criterion.needs_labels and folds > 1:
        values: dict[tuple[str, int], list[float]] = {point: [] for point in points}
        scorer = replace(settings, token_filter=False)
        shuffled = torch.randperm(len(table.lists), generator=torch.Generator().manual_seed(seed)).tolist()
        for fold in range(folds):
            held_out = sorted(shuffled[fold::folds])
            ranked = _ranked(table, set(held_out), criterion, settings)
            for kind, n in points:
                heads = ranked[:n] if kind == "heads" else [h for h in ranked if table.heads[h].layer < n][:count]
                if len(heads) < (n if kind == "heads" else count):
                    values.pop((kind, n), None)
                if (kind, n) not in values:
                    continue
                picked = [table.heads[h] for h in heads]
                for i in held_out:
                    item = table.lists[i]
                    z = scorer.passage_scores(item.scores.pick(picked))
                    values[kind, n].append(float(ndcg(z[None], item.grades)[0]))
        for (kind, n), of in values.items():
            found[kind].append([n, sum(of) / len(of)])
    return {
        **found,
        "used": {"heads": count, "depth": depth},
        "lists": len(table.lists),
        "folds": folds,
        "criterion": criterion.name,
    }


def _numbers(heads: int, count: int) -> Sequence[int]:
    """1, 2, 4, ... and the number in use, up to all heads."""
    powers = {2**i for i in range(heads.bit_length()) if 2**i <= heads}
    return sorted(powers | {count})


def _ranked(table: HeadTable, held_out: set[int], criterion: Criterion, settings: ScorerSettings) -> list[int]:
    """Numbers of the table's heads, best first, by the criterion on the lists that are not held out."""
    rest = HeadTable(table.heads, tuple(x for i, x in enumerate(table.lists) if i not in held_out))
    try:
        score = criterion(rest, calibration_of(settings)).float()
    except ValueError:  # such as no list with both relevant and irrelevant passages: no heads, so no points
        return []
    eligible = [i for i in range(len(table.heads)) if score[i] > float("-inf")]
    return sorted(eligible, key=lambda i: (-float(score[i]), table.heads[i]))
