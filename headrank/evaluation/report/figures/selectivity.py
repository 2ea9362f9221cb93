"""Draw selectivity in the middle zone, by system and by run."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from headrank.evaluation.measures.selectivity import Selectivity
from headrank.evaluation.measures.suite import pooled_selectivity, zone_estimates
from headrank.evaluation.report.figure import Drawing
from headrank.evaluation.report.figures.canvas import (
    BLUE,
    FAINT,
    GREY,
    ORANGE,
    SOFT,
    interval_mark,
    svg,
    system_colours,
)  # fmt: skip
from headrank.evaluation.report.formatting import Form, format_value, one_line
from headrank.evaluation.run_folder import RunResults, run_labels

RANDOM = 0.25  # share of passages that reach the top quartile by chance


class SystemSelectivity:
    """Figure: of the zone's relevant and irrelevant passages, the share that reaches the top quartile; selectivity.

    The candidate lists of all benchmarks are pooled; the difference is drawn with its interval.
    """

    name = "selectivity"
    title = "Selectivity in the middle zone"

    def make(self, runs: Sequence[RunResults]) -> Drawing | None:
        """Draw the figure. Return None if no system has scores in context order."""
        results = runs[0].benchmarks
        pooled = {name: s for name, s in pooled_selectivity(results).items() if s.difference is not None}
        if not pooled:
            return None
        colours = system_colours(runs[0])

        def draw(canvas: Canvas) -> None:
            shares, differences = canvas.subplots(1, 2, sharey=True, width_ratios=(3, 2))
            for y, (name, s) in enumerate(pooled.items()):
                _row(shares, differences, y, s, colours[name])
            shares.axvline(100 * RANDOM, color=GREY, linestyle=":", linewidth=1, zorder=0)
            differences.axvline(0, color=GREY, linestyle=":", linewidth=1, zorder=0)
            shares.set_yticks(range(len(pooled)), [one_line(name) for name in pooled])
            shares.set_ylim(len(pooled) - 0.4, -0.6)
            shares.set(xlabel="zone's passages in the top quartile (%)", title="Shares (dotted: chance)")
            differences.set(xlabel="relevant - irrelevant (points)", title="Selectivity, 95 % interval")
            canvas.legend(*shares.get_legend_handles_labels(), loc="outside lower center", ncols=2)

        return Drawing(
            svg(draw, 8.4, 1.5 + 0.42 * len(pooled)),
            "Share of the middle zone's relevant and irrelevant passages that a system ranks in the top quartile"
            + (", over all benchmarks." if len(results) > 1 else ".")
            + " The larger the difference, the better the system separates them.",
        )


class RunSelectivity:
    """Figure: selectivity of the first stage and of the main system before and after alignment, for each run."""

    name = "selectivity_runs"
    title = "Selectivity from run to run"

    def make(self, runs: Sequence[RunResults]) -> Drawing | None:
        """Draw the figure. Return None for a single run, or if no run has a selectivity."""
        if len(runs) < 2:
            return None
        labels = run_labels(runs)
        series: dict[str, list] = {}
        for run in runs:
            estimates = {
                "first stage": zone_estimates(run.benchmarks, run.reference).get("selectivity"),
                "zero-shot heads": zone_estimates(run.benchmarks, run.before or run.main).get("selectivity"),
                "aligned heads": zone_estimates(run.benchmarks, run.main).get("selectivity") if run.before else None,
            }
            for label, estimate in estimates.items():
                series.setdefault(label, []).append(estimate)
        series = {label: values for label, values in series.items() if any(values)}
        if not series:
            return None
        colours = {"first stage": GREY, "zero-shot heads": ORANGE, "aligned heads": BLUE}

        def draw(canvas: Canvas) -> None:
            ax = canvas.subplots()
            for i, (label, values) in enumerate(series.items()):
                xs = [x + 0.14 * (i - (len(series) - 1) / 2) for x in range(len(runs))]
                kept = [(x, e) for x, e in zip(xs, values, strict=True) if e is not None]
                for x, e in kept:
                    if e.interval is not None:
                        ax.plot([x, x], [100 * end for end in e.interval], color=colours[label], linewidth=2.2)
                        ax.plot(x, 100 * e.value, "o", color=colours[label], markersize=6)
                ax.plot(
                    [x for x, _ in kept], [100 * e.value for _, e in kept], "o-", color=colours[label], label=label,
                    linewidth=1, markersize=6,
                )  # fmt: skip
            ax.axhline(0, color=SOFT, linestyle=":", linewidth=1, zorder=0)
            ax.set_xticks(range(len(runs)), [one_line(label, 24) for label in labels])
            ax.set_xlim(-0.5, len(runs) - 0.5)
            ax.set_ylabel("selectivity (percentage points)")
            canvas.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)

        return Drawing(
            svg(draw, 8.4, 3.6),
            "Selectivity in the middle zone with 95 % bootstrap intervals over queries, over each run's benchmarks; 0 "
            "is chance.",
        )


def _row(shares: Axes, differences: Axes, y: int, s: Selectivity, colour: str) -> None:
    if s.relevant is None or s.irrelevant is None or s.difference is None:
        return
    labels = ("relevant", "irrelevant") if y == 0 else ("_", "_")  # one legend entry per kind
    shares.plot([100 * s.irrelevant, 100 * s.relevant], [y, y], color=FAINT, linewidth=3, zorder=1)
    shares.plot(100 * s.relevant, y, "o", color=BLUE, label=labels[0])
    shares.plot(100 * s.irrelevant, y, "o", color=ORANGE, label=labels[1])
    interval = None if s.interval is None else (100 * s.interval[0], 100 * s.interval[1])
    interval_mark(differences, 100 * s.difference, y, interval, colour)
    differences.annotate(
        format_value(s.difference, Form.POINTS),
        (100 * s.difference, y),
        (0, 6),
        textcoords="offset points",
        ha="center",
    )
