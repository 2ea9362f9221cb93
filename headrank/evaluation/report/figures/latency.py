"""Draw quality against time: the metric and the seconds per query, one point per timed system."""

from collections.abc import Sequence

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from headrank.evaluation.measures.metrics import Metric
from headrank.evaluation.measures.suite import metric_estimate
from headrank.evaluation.report.figure import Drawing
from headrank.evaluation.report.figures.canvas import reference_line, svg, system_colours
from headrank.evaluation.report.formatting import Form, format_value, one_line
from headrank.evaluation.run_folder import RunResults, run_labels

WIDE = 8  # ratio of slowest to fastest above which the axis is logarithmic


class LatencyQuality:
    """Figure: the metric against the wall time per query, over all benchmarks, with a line for the first stage."""

    name = "latency"
    title = "Time and quality"

    def make(self, runs: Sequence[RunResults]) -> Drawing | None:
        """Draw the figure. Return None if no system was timed and scored on every benchmark."""
        first = runs[0]
        points = []
        labels = run_labels(runs)
        for number, run in enumerate(runs):
            if run.metric != first.metric:
                continue
            colours = system_colours(run)
            for system in run.systems:
                seconds = seconds_per_list(run, system)
                estimate = metric_estimate(run.benchmarks, system, run.metric)
                if seconds and estimate is not None:
                    name = one_line(system, 24) + (f", {one_line(labels[number], 24)}" if len(runs) > 1 else "")
                    points.append((seconds, estimate, name, colours[system], "osD^v"[number % 5]))
        reference = metric_estimate(first.benchmarks, first.reference, first.metric)
        if not points:
            return None
        label = Metric.parse(first.metric).label

        def draw(canvas: Canvas) -> None:
            ax = canvas.subplots()
            for i, (seconds, estimate, name, colour, marker) in enumerate(points):
                if estimate.interval is not None:
                    ax.plot([seconds, seconds], estimate.interval, color=colour, linewidth=2.2)
                ax.plot(seconds, estimate.value, marker, color=colour, markersize=7)
                # to the left if another point is close to the right
                left = any(seconds < other < 1.15 * seconds for other, *_ in points)
                ax.annotate(
                    name, (seconds, estimate.value), (-8 if left else 8, -11 if i % 2 else 4), fontsize=8.5,
                    textcoords="offset points", ha="right" if left else "left",
                )  # fmt: skip
            if reference is not None:
                reference_line(ax, reference.value, first.reference)
            times = [seconds for seconds, *_ in points]
            if max(times) > WIDE * min(times):
                ax.set_xscale("log")
                ax.set_xlim(min(times) / 3, max(times) * 3)  # room for names
                ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
                ax.xaxis.set_minor_formatter(NullFormatter())
            else:
                ax.set_xlim(0, 1.35 * max(times))
            ax.set(xlabel="seconds per query", ylabel=label)

        return Drawing(
            svg(draw, 8.4, 3.6),
            f"{label}, with 95 % bootstrap intervals over queries, against wall time per query on this run's machine: "
            "tokenisation, forward pass and scores, without loading the model. "
            + "; ".join(f"{name} {format_value(seconds, Form.NUMBER)} s" for seconds, _, name, *_ in points)
            + ".",
        )


def seconds_per_list(run: RunResults, system: str) -> float | None:
    """Return the wall time of a system per candidate list, in seconds, over all benchmarks.

    It is None if the system was not timed on every benchmark.

    Args:
        run: the run.
        system: the name of the system.
    """
    passes = [run.passes.get((system, result.name), {}) for result in run.benchmarks]
    if not all(facts.get("seconds") and facts.get("lists") for facts in passes):
        return None
    return sum(facts["seconds"] for facts in passes) / sum(facts["lists"] for facts in passes)
