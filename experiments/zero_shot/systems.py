"""The systems of the zero-shot study: combinations of a head criterion and a calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.zero_shot.reading import ListScores
from headrank.data.labelled import label
from headrank.heads import (
    AllHeads,
    Criterion,
    EntropyRegularized,
    HeadTable,
    LabelledScores,
    LayerWindow,
    RandomHeads,
    Selection,
    select_heads,
)
from headrank.model import HeadScores, ScorerSettings, passage_scores
from headrank.ranking import CandidateList, Qrels

GRADE = 2  # lowest relevant grade (the rule of TREC DL)

CALIBRATIONS = {
    "none": ScorerSettings(calibration="none"),
    **{f"residual {p:g}": ScorerSettings(calibration="residual", power=p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)},
    "log ratio": ScorerSettings(calibration="log_ratio"),
}


@dataclass(frozen=True)
class System:
    """A head criterion and a scorer."""

    name: str
    criterion: Criterion
    scorer: ScorerSettings

    def choose(self, table: HeadTable) -> Selection:
        """Select heads by the criterion, with the calibration of the scorer."""
        return select_heads(table, self.criterion, self.scorer)

    def score(self, one: ListScores, selection: Selection) -> Tensor:
        """Return z of the passages of a candidate list, in first-stage order."""
        return passage_scores(one.scores.pick(selection.heads), self.scorer)


def systems() -> list[System]:
    """Return all systems of the study."""
    criteria: dict[str, Criterion] = {
        "all heads": AllHeads(),
        "8 random heads": RandomHeads(),
        "4-layer window": LayerWindow(),
        "8 heads by disc - .1 H": EntropyRegularized(),
    }
    return [
        System(f"{name}, {label}", criterion, scorer)
        for label, scorer in CALIBRATIONS.items()
        for name, criterion in criteria.items()
    ]


def training_table(lists: Sequence[CandidateList], qrels: Qrels, readings: Sequence[Sequence[ListScores]]) -> HeadTable:
    """Average the head scores of the labelled lists over context orders. Lists of a single grade are omitted.

    Args:
        lists: the candidate lists.
        qrels: query id -> passage id -> grade.
        readings: for each context order, the scores of every list.
    """
    labelled = []
    for n, item in enumerate(lists):
        one = label(item, qrels.get(item.query.id, {}), GRADE)
        if not one.has_pairs:
            continue
        parts = [order[n].scores for order in readings]
        contexts = torch.stack([part.query for part in parts])
        null = torch.stack([part.null for part in parts if part.null is not None]).mean(0)
        scores = HeadScores(parts[0].heads, contexts.mean(0), null, parts[0].lengths)
        labelled.append(LabelledScores(item.query.id, torch.tensor(one.grades), scores, None, GRADE, contexts))
    return HeadTable(labelled[0].scores.heads, tuple(labelled))
