"""Draw maps of all attention heads before and after alignment, and quality against number and depth of heads."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Canvas

from headrank.evaluation.report.figure import Drawing
from headrank.evaluation.report.figures.canvas import BLUE, HALO, SOFT, svg
from headrank.evaluation.run_folder import RunResults

MEASURES = ("discriminability", "entropy", "score")
RING = "#c00000"  # red on the map's green and blue, in both schemes


class HeadMaps:
    """Figure: discriminability, entropy and score of every head as maps of layers x heads. Selected heads are marked.

    After an alignment a row of maps shows the heads before it and another those after it. A row is left out if these
    heads were not measured.
    """

    name = "heads"
    title = "Heads"

    def make(self, runs: Sequence[RunResults]) -> Drawing | None:
        """Draw the figure. Return None if no head was measured on labelled lists."""
        run = runs[0]
        rows = {"": _maps(run.heads)}
        if run.before is not None:
            rows = {"before alignment": _maps(run.heads_before), "after alignment": _maps(run.heads)}
        rows = {title: maps for title, maps in rows.items() if maps}
        if not rows:
            return None
        names = [name for name in MEASURES if any(name in maps for maps in rows.values())]
        after, before = _chosen(run.heads), _chosen(run.heads_before) if run.before is not None else None

        def draw(canvas: Canvas) -> None:
            axes = canvas.subplots(len(rows), len(names), sharex=True, sharey=True, squeeze=False)
            for column, name in enumerate(names):
                values = np.concatenate([maps[name].ravel() for maps in rows.values() if name in maps])
                norm = Normalize(np.nanmin(values), np.nanmax(values))
                for ax, (title, maps) in zip(axes[:, column], rows.items(), strict=True):
                    if name not in maps:
                        ax.set_visible(False)
                        continue
                    ax.imshow(maps[name], norm=norm, aspect="auto", origin="lower", interpolation="nearest")
                    _marks(ax, before, after)
                    ax.set_title(f"{name.capitalize()}{', ' if title else ''}{title}")
                    ax.locator_params(axis="both", integer=True)
                axes[-1, column].set_xlabel("head")
                bar = canvas.colorbar(
                    ScalarMappable(norm), ax=axes[:, column].tolist(), location="bottom", shrink=0.9,
                )  # fmt: skip
                bar.ax.locator_params(axis="x", nbins=3)  # long labels of a narrow range would overlap
            for ax in axes[:, 0]:
                ax.set_ylabel("layer")
            handles = axes[0, 0].get_legend_handles_labels()
            if before is not None and handles[0]:
                canvas.legend(*handles, loc="outside lower center", ncols=3, labelcolor=SOFT)

        return Drawing(svg(draw, 2.8 * len(names) + 0.6, 3.5 * len(rows) + 0.7), _caption(before, after, list(rows)))


class HeadCurves:
    """Figure: nDCG@10 on the labelled lists against the number of heads and their maximum depth."""

    name = "head_curves"
    title = "How many heads, how deep"

    def make(self, runs: Sequence[RunResults]) -> Drawing | None:
        """Draw the figure. Return None without curves: selection used no labels, or there are too few lists."""
        curves = runs[0].head_curves
        if not curves or not (curves.get("heads") or curves.get("depth")):
            return None

        def draw(canvas: Canvas) -> None:
            number, depth = canvas.subplots(1, 2, sharey=True)
            _curve(number, curves["heads"], curves["used"]["heads"])
            if len(curves["heads"]) > 1:
                number.set_xscale("log", base=2)
                number.set_xticks([x for x, _ in curves["heads"]], [str(x) for x, _ in curves["heads"]])
                number.minorticks_off()
            number.set(
                title="Number of heads",
                xlabel="best heads, of all layers read",
                ylabel="nDCG@10, held-out labelled lists",
            )
            _curve(depth, curves["depth"], curves["used"]["depth"])
            depth.set(title="Depth of the model", xlabel=f"layers that {curves['used']['heads']} heads may come from")
            depth.locator_params(axis="x", integer=True)

        return Drawing(
            svg(draw, 8.4, 3.1),
            f"On the {curves['lists']} labelled training lists, not on a benchmark, with the original model: nDCG@10 "
            f"(ideal order within a list), each list scored by heads that {curves['criterion']} chose on other lists "
            f"({curves['folds']}-fold cross-validation). Dotted: what this run uses.",
        )


def _curve(ax: Axes, points: Sequence[Sequence[int | float]], used: int) -> None:
    ax.plot([x for x, _ in points], [y for _, y in points], marker="o", markersize=3.5, color=BLUE)
    ax.axvline(used, color=SOFT, linestyle=":", linewidth=1.2, zorder=0)


def _maps(heads: Mapping[str, Any] | None) -> dict[str, Float[np.ndarray, "layers heads"]]:
    table = (heads or {}).get("table") or {}
    maps = {
        name: np.array([[math.nan if v is None else v for v in row] for row in table[name]], dtype=np.float64)
        for name in MEASURES
        if table.get(name)
    }
    return {name: values for name, values in maps.items() if np.isfinite(values).any()}


def _chosen(heads: Mapping[str, Any] | None) -> set[tuple[int, int]]:
    return {(int(entry["layer"]), int(entry["head"])) for entry in (heads or {}).get("heads", ())}


def _marks(ax: Axes, before: set[tuple[int, int]] | None, after: set[tuple[int, int]]) -> None:
    """Mark kept heads with a ring, new heads with a square, dropped heads with a cross."""
    kept = after if before is None else before & after
    groups = (("kept", kept, "o"), ("new", after - kept, "s"), ("given up", (before or set()) - after, "X"))
    for label, heads, marker in groups:
        if heads:
            x, y = [head for _, head in sorted(heads)], [layer for layer, _ in sorted(heads)]
            # a light halo for dark cells
            ax.scatter(x, y, s=34, marker=marker, facecolors="none", edgecolors=HALO, linewidths=2.6)
            ax.scatter(x, y, s=34, marker=marker, facecolors="none", edgecolors=RING, linewidths=1.2, label=label)


def _caption(before: set | None, after: set, rows: list[str]) -> str:
    text = (
        "Measures of every head on the labelled lists, layer by layer"
        + (", of the original model" if rows == ["before alignment"] else "")
        + ". Discriminability .5 is chance, entropy 1 a head with uniform attention over passages; the score ranks "
        "heads. "
    )
    if before is None:
        return text + "The heads in use are ringed."
    share = f"{len(before & after)} of the {len(after)} heads in use after alignment were in use before"
    return text + f"{share}: rings are heads kept, squares new ones, crosses heads given up."
