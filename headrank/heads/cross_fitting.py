"""Compute passage scores of labelled lists by heads that were selected on other lists.

Probabilities and the fusion weight are fitted on such scores: on its own lists a head selection promises too much.
"""

import logging
from collections.abc import Container, Sequence
from typing import NamedTuple

from headrank.heads.criteria import Criterion
from headrank.heads.selection import FOLDS, select_heads
from headrank.heads.table import HeadTable
from headrank.model.calibration import passage_scores
from headrank.model.scorer import ScorerSettings

logger = logging.getLogger(__name__)

CROSS_FITTED = "cross_fitted"
HELD_OUT = "held_out"
BEFORE_ALIGNMENT = "before_alignment"
PROTOCOLS = {
    CROSS_FITTED: "heads selected on other lists",
    HELD_OUT: "lists held out from alignment",
    BEFORE_ALIGNMENT: "heads before alignment, selected on other lists",
}
"""How the scores of a fit were computed. The last one: a fusion weight that alignment keeps, because too few lists are
held out to fit it again."""


class ScoredLabels(NamedTuple):
    """Scores and grades of a labelled list, in first-stage order.

    z: [docs], passage scores before fusion with the first stage.
    grades: [docs], 0 or more.
    relevance_threshold: the lowest grade that counts as relevant.
    """

    z: Sequence[float]
    grades: Sequence[int]
    relevance_threshold: int

    @property
    def relevant(self) -> list[bool]:
        """Whether each passage is relevant: [docs]."""
        return [grade >= self.relevance_threshold for grade in self.grades]


def cross_fitted_scores(
    table: HeadTable,
    criterion: Criterion,
    settings: ScorerSettings,
    *,
    count: int | None = None,
    seed: int = 0,
    left_out: Container[str] = (),
) -> list[ScoredLabels]:
    """Score each list of a head table by heads that were selected on the other folds, without a forward pass.

    The lists are split into folds (5, or one per list if there are fewer). Fits on the result are used with the heads
    that are selected on all lists, as scikit-learn's `CalibratedClassifierCV(ensemble=False)` does.

    The scores differ from those of reranking in two ways. The table's scores are means over shuffled context orders,
    but a reranker reads one order. Lists of a single grade are not in the table, so the share of relevant passages is
    slightly too high.

    Args:
        table: the head table.
        criterion: the criterion that selects heads. An entropy weight `auto` must already be replaced by a number.
        settings: the calibration of the scorer that uses the heads.
        count: the number of heads; None: the criterion's own `count`.
        seed: the seed of the folds.
        left_out: the ids of queries whose lists select heads but are not in the result.

    Returns:
        The scored lists. Empty in these cases: scores are token-filtered (the table has no tokens); the table has fewer
        than two lists; the lists outside a fold lack what the criterion needs.
    """
    if settings.token_filter or len(table.lists) < 2:
        return []
    found = []
    try:
        for rest, held_out in table.folds(min(FOLDS, len(table.lists)), seed):
            heads = select_heads(rest, criterion, settings, count=count).heads
            for one in (one for one in held_out if one.query_id not in left_out):
                z = passage_scores(one.scores.pick(heads), settings).tolist()
                found.append(ScoredLabels(z, one.grades.tolist(), one.relevance_threshold))
    except ValueError as error:  # for instance no list with relevant and irrelevant passages in the other folds
        logger.info("no scores of held-out lists, on which probabilities and fusion are fitted: %s", error)
        return []
    return found
