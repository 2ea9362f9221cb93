"""Rank-based measures by ranx, which compiles them with numba: the one place that knows either.

ranx is handed arrays, not dicts of ids. From dicts it makes floats of Python's string hashes (other ones in every
process, 53 bits of 64) and orders passages by score with an unstable sort; in arrays a passage is its position in the
ranking, and the ranking's own order, ties broken, is what is measured.
"""

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from headrank.evaluation.compiled_cache import compiled_code_folder


def ranx_scores(
    measure: str, ranked: Sequence[Sequence[int]], unranked: Sequence[Sequence[int]]
) -> Float[np.ndarray, " queries"]:
    """A measure such as `ndcg@10` for every query.

    ranked: per query the grades of its ranked passages, best first; 0 for the unjudged ones.
    unranked: per query the grades of the judged passages that the ranking lacks. Ideal orders and recall need them.

    Grades below 1 count as not relevant. A query without a grade of 1 or more, or without ranked passages, has 0.
    """
    if not ranked:
        return np.zeros(0)
    run, qrels = [], []
    for grades, others in zip(ranked, unranked, strict=True):
        run.append(np.array([[i, -i] for i in range(len(grades))], dtype=np.float64).reshape(-1, 2))  # id, score
        judged = [(grade, i) for i, grade in enumerate([*grades, *others]) if grade > 0]
        judged.sort(reverse=True)  # ranx reads the ideal order off this array's order
        qrels.append(np.array([[i, grade] for grade, i in judged], dtype=np.float64).reshape(-1, 2))
    evaluate, typed_list, harmless = _ranx()
    with warnings.catch_warnings():
        # numba on ranx's parallel loops, when it compiles them: a loop counter's cast, of no consequence here
        warnings.simplefilter("ignore", harmless)
        # one thread: the work is small, and numba's threads would fight torch's for the cores
        # twice the same: ranx 0.3.21 loses a single measure with a cutoff where no mean is asked for (KeyError: 'ndcg')
        scores = evaluate(typed_list(qrels), typed_list(run), [measure, measure], return_mean=False, threads=1)
    return np.asarray(scores[measure], dtype=np.float64)


@cache
def _ranx() -> tuple[Callable[..., Any], Any, type[Warning]]:
    """ranx's `evaluate`, numba's typed list and the warning to ignore, imported late: together they take seconds."""
    _set_up_numba()
    from numba.core.errors import NumbaTypeSafetyWarning
    from numba.typed import List
    from ranx import evaluate

    return evaluate, List, NumbaTypeSafetyWarning


def _set_up_numba() -> None:
    """Have numba keep ranx's compiled code between processes (compiling takes half a minute), and leave torch's threads
    alone.

    A `NUMBA_CACHE_DIR` of the user's stays; numba's default lies next to ranx's sources, which may be read-only.
    numba's OpenMP layer sets the number of OpenMP threads, which torch shares. ranx asks for numba's own threads
    instead, but numba forgets that when it reads a changed environment, so the environment says it.
    """
    changed = {"THREADING_LAYER": "workqueue"}
    if not os.environ.get("NUMBA_CACHE_DIR"):
        changed["CACHE_DIR"] = str(compiled_code_folder())
    for name, value in changed.items():
        os.environ[f"NUMBA_{name}"] = value  # read when numba is imported, and again when it compiles
    if "numba" in sys.modules:  # bm25s imports it
        from numba.core import config

        for name, value in changed.items():
            setattr(config, name, value)
