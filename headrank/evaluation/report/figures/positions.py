"""Draw measures by position in the context: shares of passages in the top quartile, and spread of scores."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure as Canvas

from headrank.evaluation.measures.middle_zone import BINS, QUARTERS
from headrank.evaluation.measures.results import measured_zones
from headrank.evaluation.measures.selectivity import ZoneCounts
from headrank.evaluation.measures.suite import spread_estimates
from headrank.evaluation.report.figure import Drawing
from headrank.evaluation.report.figures.canvas import GREY, ZONE, svg, system_colours
from headrank.evaluation.report.formatting import one_line
from headrank.evaluation.run_folder import RunResults

RANDOM = 0.25  # share of passages that reach the top quartile by chance
TICKS = [0, 25, 50, 75, 100]


class PositionShares:
    """Figure: how often the passages at each place in the context reach the top quartile of the ranking.

    One line per system for the relevant passages, and one for the irrelevant ones.
    """

    name = "positions"
    title = "Place in the context"

    def make(self, runs: Sequence[RunResults]) -> Drawing | None:
        """Draw the figure. Return None if no system has scores in context order."""
        counts: dict[str, list[ZoneCounts]] = {}
        for _, name, zone in measured_zones(runs[0].benchmarks):
            before = counts.get(name, [ZoneCounts()] * BINS)
            counts[name] = [a + b for a, b in zip(before, zone.positions, strict=True)]
        if not counts:
            return None
        colours = system_colours(runs[0])

        def draw(canvas: Canvas) -> None:
            positions = [100 * (i + 0.5) / BINS for i in range(BINS)]
            for ax, kind in zip(canvas.subplots(1, 2, sharey=True), ("relevant", "irrelevant"), strict=True):
                ax.axvspan(25, 75, color=ZONE, zorder=0)
                ax.axhline(100 * RANDOM, color=GREY, linestyle=":", linewidth=1, zorder=1)
                for name, bins in counts.items():
                    shares = [b.relevant_share if kind == "relevant" else b.irrelevant_share for b in bins]
                    heights = [math.nan if share is None else 100 * share for share in shares]
                    ax.plot(positions, heights, marker="o", markersize=3.5, color=colours[name], label=one_line(name))
                ax.set(title=f"{kind.capitalize()} passages", xlabel="position in the context (% of the list)")
                ax.set_xlim(0, 100)
                ax.set_xticks(TICKS)
            canvas.axes[0].set_ylabel("in the top quartile (%)")
            canvas.axes[0].set_ylim(bottom=0)
            canvas.legend(*canvas.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)

        return Drawing(
            svg(draw, 8.4, 3.4),
            "Share of passages in the top quartile by their position in the context. The middle zone is shaded, chance "
            "is dotted. Without position bias the lines are horizontal: high for relevant, low for irrelevant "
            "passages.",
        )


class PositionSpread:
    """Figure: the spread of scores (`spread_by_quarter`) by place in the context, a line with interval per system."""

    name = "homogenization"
    title = "Homogenization by position in the context"

    def make(self, runs: Sequence[RunResults]) -> Drawing | None:
        """Draw the figure. Return None if no system has scores in context order."""
        run = runs[0]
        found = {name: spread_estimates(run.benchmarks, name) for name in run.systems}
        found = {name: estimates for name, estimates in found.items() if any(estimates)}
        if not found:
            return None
        colours = system_colours(run)

        def draw(canvas: Canvas) -> None:
            ax = canvas.subplots()
            ax.axvspan(25, 75, color=ZONE, zorder=0)
            for name, estimates in found.items():
                # a quarter's centre: the first covers 0 to 25 %, each next one starts an eighth later
                here = [(100 * (i + 1) / (QUARTERS + 1), e) for i, e in enumerate(estimates) if e is not None]
                xs, ys = [x for x, _ in here], [e.value for _, e in here]
                ax.plot(xs, ys, marker="o", markersize=4, color=colours[name], label=one_line(name), zorder=2)
                ends = [e.interval or (e.value, e.value) for _, e in here]
                ax.fill_between(
                    xs, [low for low, _ in ends], [high for _, high in ends], color=colours[name], alpha=0.16,
                    linewidth=0, zorder=1,
                )  # fmt: skip
            ax.set(
                xlabel="centre of a quarter of the context (% of the list)",
                ylabel="spread of scores (whole list: 1)",
                xlim=(0, 100),
            )
            ax.set_xticks(TICKS)
            canvas.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4)

        return Drawing(
            svg(draw, 8.4, 3.5),
            "Standard deviation of the scores within each quarter of the context, divided by that of the whole list: "
            "lower means more alike. The middle zone is shaded, bands are 95 % bootstrap intervals over queries. A dip "
            "in the middle shows homogenization.",
        )
