"""An alignment in the report: what was logged after each epoch, as a table and as curves. Knows numbers, no training.

Rows are those of `epochs.csv`: `epoch`, counted from 0, and values by names such as `train/loss` and `val/ndcg@10`.
"""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from headrank.evaluation.figures import SYSTEM_COLOURS, svg_text
from headrank.evaluation.formats import Form
from headrank.evaluation.illustration import Illustration
from headrank.evaluation.table import Column, Table

EPOCH = "epoch"
_PANELS = {  # title of a panel -> the names that it shows begin so
    "Losses on the training lists": "train/",
    "Held-out queries": "val/",
    "Share of heads kept": "heads/overlap",
    "Layers in use": "heads/depth",
}
_APART = ("heads/depth_change",)  # in the table alone: its sum is what `heads/depth` shows


def training_table(rows: Sequence[Mapping[str, float | int]]) -> Table | None:
    """Epochs x values; None without epochs."""
    names = _names(rows)
    if not rows:
        return None
    columns = (Column("Epoch", Form.COUNT), *(Column(n, Form.METRIC if _share(n) else Form.NUMBER) for n in names))
    body = tuple((int(row[EPOCH]), *(row.get(name) for name in names)) for row in rows)
    note = (
        "Epochs count from 0. train: mean loss over lists; val: on queries held out of training, their candidates "
        "alone; heads: the selection after the epoch, the share of heads that stayed and the layers that are computed."
    )
    return Table("training", "Alignment", columns, body, note)


def training_chart(rows: Sequence[Mapping[str, float | int]]) -> Illustration | None:
    """The values by epoch, a panel for each kind; None without epochs."""
    names = [name for name in _names(rows) if name not in _APART]
    panels = {title: [n for n in names if n.startswith(start)] for title, start in _PANELS.items()}
    panels = {title: found for title, found in panels.items() if found}
    if not panels:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, (title, found) in zip(axes, panels.items(), strict=True):
            for i, name in enumerate(found):
                points = [(row[EPOCH], row[name]) for row in rows if name in row]
                colour = SYSTEM_COLOURS[i % len(SYSTEM_COLOURS)]
                ax.plot(*zip(*points, strict=True), marker="o", markersize=3.5, color=colour, label=name)
            ax.set(title=title, xlabel="epoch")
            ax.locator_params(axis="x", integer=True)
            ax.legend(fontsize=8)

    return Illustration(
        "training",
        "Alignment by epoch",
        "Losses, what the held-out queries say, and the heads as they were selected again, after each epoch.",
        svg_text(draw, 2.9 * len(panels), 2.9),
    )


def _names(rows: Sequence[Mapping[str, float | int]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row if name != EPOCH))


def _share(name: str) -> bool:
    return name.startswith("val/") or name == "heads/overlap"
