"""Draw selectivity and homogenization of the middle zone before and after alignment."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from headrank.evaluation.measures.bootstrap import Estimate
from headrank.evaluation.measures.suite import pooled_selectivity, zone_changes, zone_estimates
from headrank.evaluation.report.figure import Drawing
from headrank.evaluation.report.figures.canvas import INK, SOFT, interval_mark, svg, system_colours
from headrank.evaluation.report.formatting import Form, format_value, one_line
from headrank.evaluation.run_folder import RunResults

PANELS = (  # measure, title, unit, scale of the axis, form of the numbers, better side
    ("selectivity", "Selectivity", "percentage points", 100.0, Form.POINTS, "more selective →"),
    ("deviation", "Spread of scores", "std of z", 1.0, Form.NUMBER, "less alike →"),
    ("entropy", "Entropy of attention", "1: spread evenly", 1.0, Form.METRIC, "← less alike"),
    ("nearly_equal", "Near ties", "% of neighbouring scores", 100.0, Form.PERCENT, "← less alike"),
)


class AlignmentEffect:
    """Figure: selectivity and homogenization of the middle zone before and after alignment, and of the first stage."""

    name = "alignment"
    title = "What alignment does in the middle of the context"

    def make(self, runs: Sequence[RunResults]) -> Drawing | None:
        """Draw the figure. Return None if nothing was aligned or selectivity was not measured before and after."""
        run = runs[0]
        if run.before is None:
            return None
        labels = {run.reference: "first stage", run.before: "zero-shot heads", run.main: "aligned heads"}
        found = {name: zone_estimates(run.benchmarks, name) for name in labels}
        changes = zone_changes(run.benchmarks, run.before, run.main)
        if "selectivity" not in changes or "selectivity" not in found[run.main]:
            return None
        colours = system_colours(run)
        seen = _headline(found[run.before]["selectivity"], found[run.main]["selectivity"], changes["selectivity"])
        numbers = _numbers(found[run.before], found[run.main], changes)

        def draw(canvas: Canvas) -> None:
            canvas.suptitle(seen, x=0.01, ha="left", fontsize=12.5, fontweight="bold", color=INK)
            for ax, panel in zip(canvas.subplots(1, len(PANELS), sharey=True), PANELS, strict=True):
                for y, name in enumerate(labels):
                    # each system has its own unit of z: the first stage does not share the heads' axis
                    other_unit = panel[0] == "deviation" and name == run.reference
                    _row(ax, y, None if other_unit else found[name].get(panel[0]), colours[name], panel)
                    if other_unit:
                        ax.text(0.5, y, "other unit", transform=ax.get_yaxis_transform(), ha="center", color=SOFT)
                _frame(ax, panel)
            canvas.axes[0].set_yticks(range(len(labels)), list(labels.values()), fontsize=10)
            canvas.axes[0].set_ylim(len(labels) - 0.5, -0.6)

        where = one_line(run.benchmarks[0].name) if len(run.benchmarks) == 1 else f"{len(run.benchmarks)} benchmarks"
        caption = (
            f"Middle half of the context, {changes['selectivity'].lists} lists of {where}; lines are 95 % bootstrap "
            f"intervals over queries. From zero-shot to aligned heads: {numbers}. Selectivity is how much likelier a "
            "relevant passage of the zone reaches the top quartile than an irrelevant one (0: chance); near ties are "
            "neighbouring scores closer than 1 % of a list's range. The spread is in units of z, whose scale training "
            "may change; near ties have no unit."
        )
        shares = pooled_selectivity(run.benchmarks)[run.reference]
        if shares.relevant == shares.irrelevant == 0:
            caption += (
                " The first stage ranks in context order, so it promotes no passage out of the zone by construction."
            )
        return Drawing(svg(draw, 10.6, 2.9), caption)


def _row(ax: Axes, y: int, estimate: Estimate | None, colour: str, panel: tuple) -> None:
    if estimate is None:
        return
    scale, form = panel[3], panel[4]
    interval = None if estimate.interval is None else (scale * estimate.interval[0], scale * estimate.interval[1])
    interval_mark(ax, scale * estimate.value, y, interval, colour, size=7.5)
    ax.annotate(
        format_value(estimate.value, form),
        (scale * estimate.value, y),
        (0, 7),
        textcoords="offset points",
        ha="center",
        color=colour,
        fontweight="bold",
    )


def _frame(ax: Axes, panel: tuple) -> None:
    measure, title, unit, _, _, better = panel
    ax.set_title(title, fontsize=10.5, pad=16)
    ax.text(0, 1.02, better, transform=ax.transAxes, fontsize=8.5, color=SOFT, va="bottom")
    ax.set_xlabel(unit)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.margins(x=0.12)
    ax.locator_params(axis="x", nbins=4)
    if measure != "selectivity":
        ax.set_xlim(left=max(0.0, ax.get_xlim()[0]))  # none of these is below 0
    else:
        ax.axvline(0, color=SOFT, linestyle=":", linewidth=1, zorder=0)


def _headline(before: Estimate, after: Estimate, change: Estimate) -> str:
    numbers = f"{format_value(before.value, Form.POINTS)} to {format_value(after.value, Form.POINTS)} points"
    if change.interval is not None and change.interval[0] > 0:
        return f"Alignment raises selectivity in the middle zone: from {numbers}"
    if change.interval is not None and change.interval[1] < 0:
        return f"Alignment lowers selectivity in the middle zone: from {numbers}"
    return f"Selectivity in the middle zone with alignment: from {numbers}, a change within chance"


def _numbers(before: dict[str, Estimate], after: dict[str, Estimate], changes: dict[str, Estimate]) -> str:
    """`selectivity +8.9 → +10.9 points (change +2.0, 95 % interval -4.9 to +8.5), ...`."""
    parts = []
    for (measure, title, _, _, form, _), unit in zip(PANELS, (" points", "", "", " %"), strict=True):
        if measure in changes:
            values = [format_value(x[measure].value, form) for x in (before, after)]
            signed = {Form.PERCENT: Form.POINTS, Form.METRIC: Form.CHANGE}.get(form, form)
            change, *ends = (_signed(x, signed) for x in (changes[measure].value, *(changes[measure].interval or ())))
            interval = f", 95 % interval {ends[0]} to {ends[1]}" if ends else ""
            parts.append(f"{title.lower()} {values[0]} → {values[1]}{unit} (change {change}{interval})")
    return ", ".join(parts)


def _signed(value: float, form: Form) -> str:
    """A change as text, with its sign in every form."""
    text = format_value(value, form)
    return f"+{text}" if form is Form.NUMBER and value > 0 else text
