"""Draw the change of the metric by reranking, query by query."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure as Canvas

from headrank.evaluation.measures.metrics import Metric
from headrank.evaluation.measures.suite import compare_systems
from headrank.evaluation.report.figure import Drawing
from headrank.evaluation.report.figures.canvas import BLUE, INK, ORANGE, svg
from headrank.evaluation.report.formatting import Form, format_value, one_line
from headrank.evaluation.run_folder import RunResults


class QueryChanges:
    """Figure: the main system's metric minus the first stage's for each query, sorted, one panel per benchmark."""

    name = "queries"
    title = "Query by query"

    def make(self, runs: Sequence[RunResults]) -> Drawing | None:
        """Draw the figure. Return None if the main system is the first stage, or shares no benchmark with it."""
        run = runs[0]
        compared = compare_systems(run.benchmarks, run.metric, run.main, run.reference)
        if compared is None:
            return None
        shown = [result for result in run.benchmarks if run.main in result.systems]
        columns = min(4, len(shown))
        rows = math.ceil(len(shown) / columns)
        label = Metric.parse(run.metric).label

        def draw(canvas: Canvas) -> None:
            panels = np.ravel(canvas.subplots(rows, columns, sharey=True, squeeze=False))
            for ax, result, part in zip(panels, shown, compared.parts, strict=False):
                values = [np.array(result.systems[name].per_query[run.metric]) for name in (run.main, run.reference)]
                differences = np.sort(values[0] - values[1])[::-1]
                # edges of bars: queries are counted from 1, and bars are centred on whole numbers
                edges = np.arange(len(differences) + 1) + 0.5
                ax.stairs(np.maximum(differences, 0), edges, fill=True, color=BLUE)
                ax.stairs(np.minimum(differences, 0), edges, fill=True, color=ORANGE)
                ax.axhline(0, color=INK, linewidth=0.8)
                ax.locator_params(axis="x", integer=True)
                ax.set(title=one_line(result.name, 28), xlim=(0.5, edges[-1]))
                c = part.test
                text = f"{c.wins} won, {c.ties} tied, {c.losses} lost\nmean {format_value(c.difference, Form.CHANGE)}"
                ax.text(0.97, 0.97, text, transform=ax.transAxes, ha="right", va="top", fontsize=8)
            for ax in panels[len(shown) :]:
                ax.set_visible(False)
            for ax in panels[max(0, len(shown) - columns) : len(shown)]:  # panels of the bottom row
                ax.set_xlabel("queries, best change first")
            for ax in panels[::columns]:
                ax.set_ylabel(f"change in {label}")

        return Drawing(
            svg(draw, 8.4 if columns > 1 else 6.4, 2.9 * rows + (0.3 if rows > 1 else 0.0)),
            f"{label} of {one_line(run.main)} minus that of {one_line(run.reference)} for each query, sorted. Bars "
            "above the line are improvements.",
        )
