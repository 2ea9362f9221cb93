"""Draw reliability diagrams: the share of relevant passages against their probability of relevance."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from headrank.evaluation.measures.probability import BINS, ProbabilityQuality
from headrank.evaluation.report.figure import Drawing
from headrank.evaluation.report.figures.canvas import GREY, svg, system_colours
from headrank.evaluation.report.formatting import Form, format_value, one_line
from headrank.evaluation.run_folder import RunResults

COLUMNS = 3  # panels side by side


class Reliability:
    """Figure: the share of relevant passages against the mean probability, in bins, per system and benchmark."""

    name = "reliability"
    title = "Reliability of the probabilities"

    def make(self, runs: Sequence[RunResults]) -> Drawing | None:
        """Draw the figure. Return None if no system has probabilities of relevance."""
        run = runs[0]
        panels: list[tuple[str, dict[str, ProbabilityQuality]]] = []
        for result in run.benchmarks:
            found = {name: one.probability for name, one in result.systems.items() if one.probability is not None}
            if found:
                panels.append((result.name, found))
        if not panels:
            return None
        colours, columns = system_colours(run), min(COLUMNS, len(panels))
        rows = -(-len(panels) // columns)

        def draw(canvas: Canvas) -> None:
            axes = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
            labels: dict = {}
            for ax, (name, found) in zip(axes.flat, panels, strict=False):
                _panel(ax, found, colours)
                ax.set_title(one_line(name, 28))
                handles, names = ax.get_legend_handles_labels()
                labels |= dict(zip(names, handles, strict=True))
            for ax in axes.flat[len(panels) :]:
                ax.set_axis_off()
            for ax in axes.flat[max(0, len(panels) - columns) : len(panels)]:  # the lowest panel of each column
                ax.set_xlabel("probability of relevance (%)")
                ax.tick_params(labelbottom=True)
            for ax in axes[:, 0]:
                ax.set_ylabel("relevant passages (%)")
            canvas.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=4)

        return Drawing(svg(draw, 0.9 + 2.7 * columns, 0.9 + 2.6 * rows), _caption(panels))


def _panel(ax: Axes, found: dict[str, ProbabilityQuality], colours: dict[str, str]) -> None:
    ax.plot([0, 100], [0, 100], color=GREY, linestyle=":", linewidth=1, zorder=0)
    for name, quality in found.items():
        x, y = zip(*((100 * one.predicted, 100 * one.relevant) for one in quality.bins), strict=True)
        ax.plot(x, y, "o-", color=colours[name], markersize=4.5, linewidth=1.2, label=one_line(name))
    ax.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal", xticks=range(0, 101, 25), yticks=range(0, 101, 25))


def _caption(panels: list[tuple[str, dict[str, ProbabilityQuality]]]) -> str:
    text = (
        f"Passages in up to {BINS} bins of equal mass by probability. On the dotted line probabilities are right; "
        "below it passages are relevant less often than predicted. Expected calibration error: "
    )
    errors = [
        f"{one_line(benchmark)}, {one_line(system)} {format_value(quality.error, Form.METRIC)}"
        for benchmark, found in panels
        for system, quality in found.items()
    ]
    return text + "; ".join(errors[:6]) + ("; …" if len(errors) > 6 else "") + "."
