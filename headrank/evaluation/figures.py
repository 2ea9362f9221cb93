"""The report's figures as SVG text: heads, selectivity, position in the context, queries.

Each function returns an `Illustration`, or None where there is nothing to draw. The same input gives the same bytes:
ids are salted hashes, letters are outlines (no font of the viewer's is needed), and no date is written. Figures have a
white ground of their own, so they read the same on a dark page. Importing this imports matplotlib: a second.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headrank.evaluation.formats import Form, one_line, written
from headrank.evaluation.illustration import Illustration
from headrank.evaluation.metrics import Metric
from headrank.evaluation.middle_zone import BINS
from headrank.evaluation.results import BenchmarkResult
from headrank.evaluation.selectivity import Selectivity, ZoneCounts
from headrank.evaluation.tables import pooled_selectivity, system_names

# Okabe and Ito's palette: told apart by colour-blind readers too
BLUE, ORANGE = "#0072b2", "#d55e00"
SYSTEM_COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
GREY = "#777777"
RANDOM = 0.25  # of all passages reach the top quartile by chance
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "headrank",  # ids are random without it
    "svg.fonttype": "path",
    "text.parse_math": False,  # a $ in a name is no formula
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def illustrations(
    results: Sequence[BenchmarkResult], heads: Mapping[str, Any] | None, *, metric: str, main: str
) -> list[Illustration]:
    """All figures that can be drawn of these results and heads (`HeadsFile.to_dict()`)."""
    drawn = (
        query_changes(results, metric, main),
        selectivity_chart(results),
        position_chart(results),
        head_maps(heads or {}),
    )
    return [illustration for illustration in drawn if illustration is not None]


def head_maps(heads: Mapping[str, Any]) -> Illustration | None:
    """Discriminability, entropy and score of every head, layers x heads, the chosen heads ringed.

    None where `heads["table"]` is None (no labelled lists were read) or holds no number.
    """
    table = heads.get("table") or {}
    maps = {
        name: np.array([[math.nan if v is None else v for v in row] for row in table[name]], dtype=np.float64)
        for name in ("discriminability", "entropy", "score")
        if table.get(name)
    }
    maps = {name: values for name, values in maps.items() if np.isfinite(values).any()}
    if not maps:
        return None
    chosen = [(int(entry["layer"]), int(entry["head"])) for entry in heads.get("heads", ())]

    def draw(figure: Figure) -> None:
        for ax, (name, values) in zip(np.ravel(figure.subplots(1, len(maps), sharey=True)), maps.items(), strict=True):
            image = ax.imshow(values, cmap="viridis", aspect="auto", origin="lower", interpolation="nearest")
            x, y = [head for _, head in chosen], [layer for layer, _ in chosen]
            ax.scatter(x, y, s=34, facecolors="none", edgecolors="white", linewidths=2.6)  # a halo for dark cells
            ax.scatter(x, y, s=34, facecolors="none", edgecolors="#c00000", linewidths=1.2)
            ax.set(title=name.capitalize(), xlabel="head")
            ax.locator_params(axis="both", integer=True)
            bar = figure.colorbar(image, ax=ax, location="bottom", shrink=0.9)
            bar.ax.locator_params(axis="x", nbins=3)  # long labels of a narrow range would run into one another
        figure.axes[0].set_ylabel("layer")

    return Illustration(
        "heads",
        "Heads",
        "What was measured of every head on the labelled lists, layer by layer; the chosen heads are ringed. "
        "Discriminability .5 is chance, entropy 1 a head that attends to all passages alike; the score ranks heads.",
        svg_text(draw, 2.8 * len(maps) + 0.6, 4.2),
    )


def selectivity_chart(results: Sequence[BenchmarkResult]) -> Illustration | None:
    """Both shares of each system and their difference with its interval, over the lists of all benchmarks."""
    pooled = {name: s for name, s in pooled_selectivity(results).items() if s.difference is not None}
    if not pooled:
        return None

    def draw(figure: Figure) -> None:
        shares, differences = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        names = list(pooled)
        for y, s in enumerate(pooled.values()):
            _selectivity_row(shares, differences, y, s)
        shares.axvline(100 * RANDOM, color=GREY, linestyle=":", linewidth=1, zorder=0)
        differences.axvline(0, color=GREY, linestyle=":", linewidth=1, zorder=0)
        shares.set_yticks(range(len(names)), [one_line(name) for name in names])
        shares.set_ylim(len(names) - 0.4, -0.6)
        shares.set(xlabel="zone's passages in the top quartile (%)", title="Shares (dotted: chance)")
        differences.set(xlabel="relevant - irrelevant (points)", title="Selectivity, 95 % interval")
        figure.legend(
            *shares.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=2,
        )

    return Illustration(
        "selectivity",
        "Selectivity in the middle zone",
        "How many of the middle zone's relevant and irrelevant passages a system lifts into the top quartile"
        + (", over all benchmarks." if len(results) > 1 else ".")
        + " The farther apart the two, the better it tells them apart there.",
        svg_text(draw, 8.4, 1.5 + 0.42 * len(pooled)),
    )


def position_chart(results: Sequence[BenchmarkResult]) -> Illustration | None:
    """Share of passages in the top quartile by place in the context, relevant and irrelevant, a line per system."""
    counts: dict[str, list[ZoneCounts]] = {}
    for result in results:
        for name, system in result.systems.items():
            if system.middle_zone is not None and system.middle_zone.lists:
                before = counts.setdefault(name, [ZoneCounts()] * BINS)
                counts[name] = [a + b for a, b in zip(before, system.middle_zone.positions, strict=True)]
    if not counts:
        return None
    colours = system_colours(results)

    def draw(figure: Figure) -> None:
        places = [100 * (i + 0.5) / BINS for i in range(BINS)]
        for ax, kind in zip(figure.subplots(1, 2, sharey=True), ("relevant", "irrelevant"), strict=True):
            ax.axvspan(25, 75, color="#f0f0f0", zorder=0)
            ax.axhline(100 * RANDOM, color=GREY, linestyle=":", linewidth=1, zorder=1)
            for name, bins in counts.items():
                shares = [b.relevant_share if kind == "relevant" else b.irrelevant_share for b in bins]
                heights = [math.nan if share is None else 100 * share for share in shares]
                ax.plot(places, heights, marker="o", markersize=3.5, color=colours[name], label=one_line(name))
            ax.set(title=f"{kind.capitalize()} passages", xlabel="place in the context (% of the list)", xlim=(0, 100))
            ax.set_xticks([0, 25, 50, 75, 100])
        figure.axes[0].set_ylabel("in the top quartile (%)")
        figure.axes[0].set_ylim(bottom=0)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)

    return Illustration(
        "positions",
        "Place in the context",
        "Share of passages that end in the top quartile, by where in the context the model read them; the middle zone "
        "is shaded, chance is dotted. Without position bias lines are level: high for relevant, low for irrelevant.",
        svg_text(draw, 8.4, 3.4),
    )


def query_changes(results: Sequence[BenchmarkResult], metric: str, main: str) -> Illustration | None:
    """Per query the main system's metric minus the reference's, sorted, one panel per benchmark."""
    shown = [result for result in results if main in result.systems and main != result.reference]
    if not shown:
        return None
    columns = min(4, len(shown))
    rows = math.ceil(len(shown) / columns)
    label = Metric.parse(metric).label

    def draw(figure: Figure) -> None:
        panels = np.ravel(figure.subplots(rows, columns, sharey=True, squeeze=False))
        for ax, result in zip(panels, shown, strict=False):
            values = [np.array(result.systems[name].per_query[metric]) for name in (main, result.reference)]
            differences = np.sort(values[0] - values[1])[::-1]
            # every bar's edges: queries are counted from 1, so their bars are centred on whole numbers
            edges = np.arange(len(differences) + 1) + 0.5
            ax.stairs(np.maximum(differences, 0), edges, fill=True, color=BLUE)
            ax.stairs(np.minimum(differences, 0), edges, fill=True, color=ORANGE)
            ax.axhline(0, color="black", linewidth=0.8)
            ax.locator_params(axis="x", integer=True)
            ax.set(title=one_line(result.name, 28), xlim=(0.5, edges[-1]))
            c = result.systems[main].comparisons[metric]
            text = f"{c.wins} won, {c.ties} tied, {c.losses} lost\nmean {written(c.difference, Form.CHANGE)}"
            ax.text(0.97, 0.97, text, transform=ax.transAxes, ha="right", va="top", fontsize=8)
        for ax in panels[len(shown) :]:
            ax.set_visible(False)
        for ax in panels[max(0, len(shown) - columns) : len(shown)]:  # those with no panel below
            ax.set_xlabel("queries, best change first")
        for ax in panels[::columns]:
            ax.set_ylabel(f"change in {label}")

    return Illustration(
        "queries",
        f"{label} query by query",
        f"{one_line(main)} minus {one_line(shown[0].reference)} for each query, sorted; above the line it is better.",
        svg_text(draw, 8.4 if columns > 1 else 6.4, 2.9 * rows + (0.3 if rows > 1 else 0.0)),
    )


def system_colours(results: Sequence[BenchmarkResult]) -> dict[str, str]:
    """A colour for each system, the same in every figure; grey for the reference."""
    others = [name for name in system_names(results) if name != results[0].reference]
    colours = {name: SYSTEM_COLOURS[i % len(SYSTEM_COLOURS)] for i, name in enumerate(others)}
    return {results[0].reference: GREY, **colours}


def _selectivity_row(shares: Axes, differences: Axes, y: int, s: Selectivity) -> None:
    if s.relevant is None or s.irrelevant is None or s.difference is None:
        return
    labels = ("relevant", "irrelevant") if y == 0 else ("_", "_")  # one legend entry each
    shares.plot([100 * s.irrelevant, 100 * s.relevant], [y, y], color="#cccccc", linewidth=3, zorder=1)
    shares.plot(100 * s.relevant, y, "o", color=BLUE, label=labels[0])
    shares.plot(100 * s.irrelevant, y, "o", color=ORANGE, label=labels[1])
    if s.interval is not None:
        differences.plot([100 * s.interval[0], 100 * s.interval[1]], [y, y], color=BLUE, linewidth=2)
    differences.plot(100 * s.difference, y, "o", color=BLUE)
    differences.annotate(
        written(s.difference, Form.POINTS), (100 * s.difference, y), (0, 6), textcoords="offset points", ha="center"
    )


def svg_text(draw: Callable[[Figure], None], width: float, height: float) -> str:
    """Draw on a new figure, width x height in inches, and write it as an SVG element."""
    out = io.StringIO()
    with _style():
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return re.sub(r"\s+\n", "\n", text[text.index("<svg") :])  # without the XML and DTD heads, which name addresses


@contextmanager
def _style() -> Iterator[None]:
    """The figures' style, for as long as one is drawn and written, whatever the user's own matplotlibrc says."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        # names in scripts that matplotlib's own font lacks are drawn as boxes; tables and captions have them right
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
