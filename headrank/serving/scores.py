"""Scores in answers: between 0 and 1, or the raw scores z."""

import math
from collections.abc import Sequence

from headrank.reranker import RerankResult


def served_scores(results: Sequence[RerankResult], *, raw: bool = False) -> list[float]:
    """The scores of one list's results.

    Args:
        results: the results, best first.
        raw: whether z itself is asked for.

    Returns:
        z if `raw`; else the probabilities, if the heads have them for this list; else `bounded(z)`.
    """
    if raw:
        return [one.score for one in results]
    return [bounded(one.score) if one.probability is None else one.probability for one in results]


def bounded(z: float) -> float:
    """1 / (1 + exp(-asinh(z))), in (0, 1) [ours]: increasing in z, so that it keeps the order, but no probability.

    asinh grows like a logarithm, so that large z stay different from 1 in double precision.
    """
    return 1 / (1 + math.exp(-math.asinh(z)))
