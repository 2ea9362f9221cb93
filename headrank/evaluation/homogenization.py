"""How alike a list's scores are in parts of its context. Definitions are ours, after the paper's homogenization.

- Of the zone, per list: the standard deviation of the scores z (in the system's own unit, so to be compared between
  variants of one system only); the normalised entropy of the attention masses' shares within the zone (1: all the
  same); the share of neighbours that are nearly equal, where neighbours are adjacent scores of the zone in sorted order
  and nearly equal means closer than 1 % of the whole list's range of z.
- By place: the standard deviation of z within each of 7 overlapping quarters of the context over that of the whole
  list, so without a unit: 1 is as spread out as the list, 0 all the same.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from headrank.ranking import ContextScores

BINS = 8  # of the context, of equal width; the zone is bins 2 to 5 exactly, a quarter two neighbouring ones
PLACES = BINS - 1  # quarters of the context, each starting an eighth after the one before
NEARLY_EQUAL = 0.01  # of the list's range of scores


@dataclass(frozen=True, slots=True)
class Homogenization:
    """How alike the zone's scores are, of a list or averaged over lists. None where no list has what it needs.

    deviation: standard deviation of z, in units of z.
    entropy: of the masses' shares within the zone, over log of the zone's size, in [0, 1].
    nearly_equal: share of neighbouring scores closer than 1 % of the list's range, in [0, 1].
    """

    deviation: float | None
    entropy: float | None
    nearly_equal: float | None


def zone_slice(n: int) -> slice:
    """The zone of a list of `n` passages, as positions in context order: N/4 <= p < 3N/4."""
    return slice(-(-n // 4), -(-3 * n // 4))  # rounded up


def homogenization(context: ContextScores) -> Homogenization:
    """How alike the scores in the zone of one list are.

    A zone without passages has None throughout; entropy and neighbours need two passages in it. Scores that are all the
    same have deviation 0 and only nearly equal neighbours. Entropy is None without masses, or where all of them are 0;
    everything is where there are ranks alone.
    """
    if context.scores is None:
        return Homogenization(None, None, None)
    scores = np.asarray(context.scores, dtype=np.float64)
    inside = zone_slice(len(scores))
    zone = scores[inside]
    deviation = float(zone.std()) if zone.size else None
    masses = None if context.masses is None else np.asarray(context.masses, dtype=np.float64)[inside]
    entropy = None if masses is None else _normalised_entropy(masses)
    nearly_equal = None
    if zone.size > 1:
        gaps, width = np.diff(np.sort(zone)), float(np.ptp(scores))
        # gaps <= 0 too: where all scores are the same the range is 0 and no gap is below a hundredth of it
        nearly_equal = float(np.mean((gaps < NEARLY_EQUAL * width) | (gaps <= 0)))
    return Homogenization(deviation, entropy, nearly_equal)


def spread_by_place(context: ContextScores) -> tuple[float | None, ...]:
    """The standard deviation of z within each quarter of the context over the whole list's, first quarter first.

    None for a quarter of fewer than two passages, and throughout where all scores of the list are the same or there are
    ranks alone.
    """
    if context.scores is None:
        return (None,) * PLACES
    scores = np.asarray(context.scores, dtype=np.float64)
    n, whole = len(scores), float(scores.std()) if len(scores) else 0.0
    bins = BINS * np.arange(n) // max(1, n)
    values: list[float | None] = []
    for place in range(PLACES):
        inside = scores[(bins == place) | (bins == place + 1)]
        values.append(float(inside.std()) / whole if inside.size > 1 and whole > 0 else None)
    return tuple(values)


def _normalised_entropy(masses: Float[np.ndarray, " zone"]) -> float | None:
    """-sum p log p / log n with p = masses / their sum, 0 log 0 = 0, in [0, 1]; None for fewer than two or no mass."""
    total = float(masses.sum())
    if masses.size < 2 or total <= 0:
        return None
    p = masses / total
    p = p[p > 0]  # after dividing: a tiny mass may become 0 there
    return min(1.0, max(0.0, float(-(p * np.log(p)).sum() / math.log(masses.size))))  # rounding may leave [0, 1]
