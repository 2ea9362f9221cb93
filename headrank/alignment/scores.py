"""Compute the passage scores z of labelled lists, for training and validation.

Prompts, head scores and calibration are the same as at inference.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from headrank.alignment.pairs import check_finite
from headrank.data.labelled import LabelledList
from headrank.model import CutCounts, Head, ListReader, Reading, ScorerSettings, passage_scores


def read_lists(
    reader: ListReader, lists: Sequence[LabelledList], heads: Sequence[Head], scorer: ScorerSettings, cuts: CutCounts
) -> list[Reading]:
    """Read the head scores of labelled lists in their context orders, in one forward pass, with gradients.

    Args:
        reader: runs the model.
        lists: the labelled lists.
        heads: the heads to read.
        scorer: determines whether the scores of the null query and of single tokens are read.
        cuts: counts truncated passages and queries; the counts of these lists are added.

    Returns:
        One reading per list.
    """
    readings = reader.read_pass(
        [one.item for one in lists],
        [one.order for one in lists],
        heads,
        with_null=scorer.needs_null,
        per_token=scorer.token_filter,
    )
    for reading in readings:
        cuts.add(len(reading.order), len(reading.cut), query_cut=reading.query_cut)
    return readings


def score_lists(
    lists: Sequence[LabelledList],
    readings: Sequence[Reading],
    scorer: ScorerSettings,
    weights: Float[Tensor, " heads"],
) -> list[Float[Tensor, " docs"]]:
    """Compute the passage scores z of lists: the weighted sum of calibrated head scores.

    Args:
        lists: the labelled lists.
        readings: the head scores of each list, the result of `read_lists`.
        scorer: the calibration.
        weights: [heads].

    Returns:
        One tensor [docs] per list, in context order and in fp32 (also under autocast).

    Raises:
        ValueError: a z is NaN or infinite; the message names the query.
    """
    values = []
    for one, reading in zip(lists, readings, strict=True):
        with torch.autocast(reading.scores.query.device.type, enabled=False):
            z = passage_scores(reading.scores, scorer, weights)
        try:
            check_finite("z", z.detach())
        except ValueError as error:
            raise ValueError(f"query {one.item.query.id!r}: {error}") from error
        values.append(z)
    return values
