"""Draw the middle zone before and after alignment: selectivity and homogenization."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from headrank.io.files import atomic_write

COLOURS = {"BM25": "#8a8a8a", "zero-shot": "#e08a00", "aligned": "#0072b2"}  # distinguishable for colour-blind readers
LABELS = {"BM25": "BM25 (first stage)", "zero-shot": "heads before alignment", "aligned": "after alignment"}


@dataclass(frozen=True)
class Row:
    """One system on one test: selectivity with its 95 % interval (percentage points) and homogenization."""

    test: str
    system: str
    difference: float | None
    interval: tuple[float, float] | None
    nearly_equal: float | None

    @classmethod
    def from_record(cls, row: Mapping[str, Any]) -> "Row":
        """Convert a row of results.json."""
        zone, alike = row["zone"], row["homogenization"]
        return cls(
            f"{row['name']}\ntop {row['depth']}",
            row["system"],
            None if zone["difference"] is None else 100 * zone["difference"],
            None if zone["interval"] is None else tuple(100 * v for v in zone["interval"]),
            None if alike is None else 100 * alike["nearly_equal"],
        )


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the figure: selectivity with intervals (left) and the share of near ties (right).

    Args:
        rows: one per test and system.
        path: the file to write.
    """
    tests = list(dict.fromkeys(row.test for row in rows))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 1.4 + 0.75 * len(tests)), sharey=True, width_ratios=(1.5, 1), layout="constrained"
    )
    for row in rows:
        y = tests.index(row.test) + 0.24 * (list(COLOURS).index(row.system) - 1)
        colour = COLOURS[row.system]
        if row.difference is not None:
            low, high = row.interval or (row.difference, row.difference)
            left.errorbar(
                row.difference,
                y,
                xerr=[[row.difference - low], [high - row.difference]],
                fmt="o",
                markersize=6,
                capsize=3,
                color=colour,
                label=LABELS[row.system] if row.test == tests[0] else None,
            )
        if row.nearly_equal is not None:
            right.barh(y, row.nearly_equal, height=0.2, color=colour)
    left.axvline(0, color="#555555", linewidth=0.8)
    left.set_yticks(range(len(tests)), tests)
    left.invert_yaxis()
    left.set_xlabel(
        "selectivity: relevant minus irrelevant passages that reach\nthe top quartile (percentage points, 95 %)"
    )
    right.set_xlabel("neighbouring scores closer than 1 %\nof the list's range (% of neighbours)")
    left.set_title("Middle zone: how well relevant passages stand out", fontsize=10)
    right.set_title("and how alike the scores are", fontsize=10)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("The middle of the context before and after alignment, shuffled order, unfused")
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="svg", facecolor="white")
    plt.close(figure)
