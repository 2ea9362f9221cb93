"""Draw the training curves of an alignment: the loss and its parts, held-out quality, the heads."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from headrank.evaluation.report.figure import Drawing
from headrank.evaluation.report.figures.canvas import BLUE, FAINT, GREEN, INK, PINK, SKY, SOFT, svg
from headrank.evaluation.report.formatting import one_line
from headrank.evaluation.run_folder import RunResults

LOSS = "train/loss"
CHOICE = "val/ndcg@10"  # selects the exported epoch
COLUMNS = 3  # panels per row
PART_COLOURS = (GREEN, PINK, SKY)
PANELS = (  # name in the epoch log, title, unit, scale
    (CHOICE, "Held-out ranking", "nDCG@10", 1.0),
    ("val/selectivity", "Held-out selectivity", "percentage points", 100.0),
    ("heads/overlap", "Heads kept when selected again", "% of heads", 100.0),
    ("heads/depth", "Depth in use", "layers", 1.0),
)


class TrainingCurves:
    """Figure: a panel for the loss with its parts, and one for each value of `PANELS` in the epoch log."""

    name = "training"
    title = "Training curves"

    def make(self, runs: Sequence[RunResults]) -> Drawing | None:
        """Draw the figure. Return None if the epoch log has no loss."""
        epochs = runs[0].epochs
        panels = [panel for panel in PANELS if any(panel[0] in epoch for epoch in epochs)]
        if not epochs or not any(LOSS in epoch for epoch in epochs):
            return None
        chosen = _chosen(epochs)
        columns = min(COLUMNS, 1 + len(panels))
        rows = math.ceil((1 + len(panels)) / columns)

        def draw(canvas: Canvas) -> None:
            axes = canvas.subplots(rows, columns, squeeze=False).ravel()
            for ax in axes[1 + len(panels) :]:
                ax.set_visible(False)
            axes = axes[: 1 + len(panels)]
            _loss(axes[0], epochs)
            for ax, (value, title, unit, scale) in zip(axes[1:], panels, strict=True):
                _line(ax, epochs, value, BLUE, scale=scale)
                ax.set(title=title, ylabel=unit)
                if unit == "layers":
                    ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            for ax in axes:
                ax.set_xlabel("epoch")
                ax.locator_params(axis="x", integer=True, nbins=6)
                ax.grid(axis="y", color=FAINT, linewidth=0.7)
                ax.set_axisbelow(True)
                if len(epochs) == 1:
                    ax.set_xlim(0.5, 1.5)
                if chosen is not None:
                    ax.axvline(chosen, color=SOFT, linestyle=":", linewidth=1.2, zorder=0)

        caption = "After each epoch: the loss over the training lists with its parts, unweighted"
        caption += "; the other panels show held-out labelled queries and the selected heads." if panels else "."
        if chosen is not None:
            caption += f" Dotted: epoch {chosen}, which has the best held-out nDCG@10."
        return Drawing(svg(draw, max(5.0, 3.0 * columns), 2.9 * rows), caption)


def _chosen(epochs: Sequence[Mapping[str, float | int]]) -> int | None:
    """The epoch (from 1) with the best held-out nDCG@10; None without held-out queries."""
    measured = [epoch for epoch in epochs if CHOICE in epoch]
    return int(max(measured, key=lambda epoch: epoch[CHOICE])["epoch"]) + 1 if measured else None


def _loss(ax: Axes, epochs: Sequence[Mapping[str, float | int]]) -> None:
    parts = dict.fromkeys(name for epoch in epochs for name in epoch if name.startswith("train/") and name != LOSS)
    _line(ax, epochs, LOSS, INK, label="loss")
    if len(parts) > 1:  # a single part is the loss itself
        for i, name in enumerate(parts):
            label = one_line(name.removeprefix("train/"), 20)
            _line(ax, epochs, name, PART_COLOURS[i % len(PART_COLOURS)], label=label, dashes="--")
        ax.legend(fontsize=8)
    ax.set(title="Training loss", ylabel="mean over lists")
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))


def _line(
    ax: Axes,
    epochs: Sequence[Mapping[str, float | int]],
    value: str,
    colour: str,
    *,
    label: str | None = None,
    dashes: str = "-",
    scale: float = 1.0,
) -> None:
    points = [(int(epoch["epoch"]) + 1, scale * epoch[value]) for epoch in epochs if value in epoch]
    ax.plot(
        [x for x, _ in points], [y for _, y in points], dashes, marker="o", markersize=3.5, color=colour, label=label
    )
