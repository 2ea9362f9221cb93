"""The systems that the zero-shot study compares: a reading, a head criterion and a calibration each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.zero_shot.reading import ListScores
from headrank.data.labelled import label
from headrank.heads import (
    AllHeads,
    Contrastive,
    Criterion,
    EntropyRegularized,
    HeadTable,
    LabelledScores,
    LayerWindow,
    QueryFocused,
    RandomHeads,
    Selection,
    calibration_of,
    select_heads,
)
from headrank.heads.table import HeadCalibration
from headrank.model import HeadScores, ScorerSettings
from headrank.ranking import CandidateList, Qrels

GRADE = 2  # from which a passage is relevant to the criteria that know only relevant or not (TREC DL's rule)

SUBTRACTION = ScorerSettings(calibration="residual", power=0.0)
CALIBRATIONS = {
    "none": ScorerSettings(calibration="none"),
    **{f"residual {p:g}": ScorerSettings(calibration="residual", power=p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)},
    "log ratio": ScorerSettings(calibration="log_ratio"),
}

FIELD_CRITERIA: dict[str, Criterion] = {
    "ICR": AllHeads(),
    "QRHead": QueryFocused(),
    "Selective-ICR": LayerWindow(),
}
"""Systems of the field that filter tokens; their filtered scores are computed while reading."""


@dataclass(frozen=True)
class System:
    """A way to score a list from what was read of it."""

    name: str
    reading: str  # ours | field
    criterion: Criterion
    scorer: ScorerSettings
    filtered: bool = False

    def score(self, one: ListScores, selection: Selection) -> Tensor:
        """z of a list's passages in first-stage order."""
        if self.filtered:
            return one.filtered[self.name]
        scores: HeadScores = getattr(one, self.reading)
        return self.scorer.passage_scores(scores.pick(selection.heads))


def systems() -> list[System]:
    """All systems of the study."""
    found = [System(name, "field", c, SUBTRACTION, filtered=True) for name, c in FIELD_CRITERIA.items()]
    found.append(System("CoRe", "field", Contrastive(), SUBTRACTION))
    for name, scorer in CALIBRATIONS.items():
        found.append(System(f"all heads, {name}", "ours", AllHeads(), scorer))
        found.append(System(f"8 random heads, {name}", "ours", RandomHeads(), scorer))
        found.append(System(f"4-layer window, {name}", "ours", LayerWindow(), scorer))
        found.append(System(f"8 heads by disc - .1 H, {name}", "ours", EntropyRegularized(), scorer))
    return found


def training_table(
    lists: Sequence[CandidateList], qrels: Qrels, readings: Sequence[Sequence[ListScores]], reading: str
) -> HeadTable:
    """The labelled lists' head scores, averaged over the context orders they were read in; one-grade lists left out."""
    labelled = []
    for n, item in enumerate(lists):
        one = label(item, qrels.get(item.query.id, {}), GRADE)
        if not one.has_pairs:
            continue
        parts: list[HeadScores] = [getattr(order[n], reading) for order in readings]
        query = torch.stack([part.query for part in parts]).mean(0)
        null = torch.stack([part.null for part in parts if part.null is not None]).mean(0)
        filtered = torch.stack([f for order in readings if (f := order[n].per_head_filtered) is not None]).mean(0)
        scores = HeadScores(parts[0].heads, query, null, parts[0].lengths)
        labelled.append(LabelledScores(item.query.id, torch.tensor(one.grades), scores, filtered, GRADE))
    return HeadTable(labelled[0].scores.heads, tuple(labelled))


def choose_heads(
    table: HeadTable, criterion: Criterion, reading: str, scorer: ScorerSettings | None = None
) -> Selection:
    """The heads that a criterion takes, seen through the calibration that will use them (the field's: subtraction)."""
    calibrate: HeadCalibration = calibration_of(scorer or SUBTRACTION)
    return select_heads(table, criterion, calibrate)
