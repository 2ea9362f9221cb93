"""Measure how time and memory grow with the number of tokens of a candidate list."""

import logging
import math
from collections.abc import Sequence
from typing import Any

from experiments.benchmarks import systems
from experiments.benchmarks.measure import take_turns
from experiments.benchmarks.models import Shared, make_lists
from experiments.benchmarks.profiles import PASSAGE_TOKENS, Profile

logger = logging.getLogger(__name__)

FRAME = 3  # tokens between two passages (separator and label)


def run_growth(profile: Profile, shared: Shared) -> dict[str, Any]:
    """Measure seconds and peak memory (without the weights) for each number of tokens, and fit how they grow.

    Returns:
        The measurements, and the exponents of the growth of time and memory.
    """
    depth = profile.growth_depth
    backbone, heads = shared.backbone(depth), profile.heads(depth)
    calls = {}
    for tokens in profile.growth:
        lists = make_lists(shared.whole.tokenizer, 1, round(tokens / (PASSAGE_TOKENS + FRAME)))
        calls[str(tokens)] = systems.scorer_call(shared, backbone, heads, lists)
    logger.info("growth: %s tokens, %d layers", ", ".join(calls), depth)
    calls[str(profile.growth[0])]()
    rows = [
        {"tokens": taken.result.tokens, "flops": taken.result.flops, "seconds": taken.seconds,
         "peak_mib": taken.peak_mib, **taken.to_dict()}
        for taken in take_turns(calls, profile.growth_rounds).values()
    ]  # fmt: skip
    tokens = [row["tokens"] for row in rows]
    columns = ("flops", "seconds", "peak_mib")
    known = [name for name in columns if all(row[name] is not None and row[name] > 0 for row in rows)]
    return {
        "layers": depth,
        "rows": rows,
        "exponents": {name: exponent(tokens, [row[name] for row in rows]) for name in known},
        "last_doubling": {
            name: (rows[-1][name] / rows[-2][name]) ** (math.log(2) / math.log(tokens[-1] / tokens[-2]))
            for name in known
        },
    }


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the exponent b of y = a x^b, fitted by least squares of the logarithms."""
    u, v = [math.log(value) for value in x], [math.log(value) for value in y]
    mean_u, mean_v = sum(u) / len(u), sum(v) / len(v)
    return sum((a - mean_u) * (b - mean_v) for a, b in zip(u, v, strict=True)) / sum((a - mean_u) ** 2 for a in u)
