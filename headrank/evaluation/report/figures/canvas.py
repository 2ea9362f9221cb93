"""Tools for drawing figures: colours, style, and SVG that follows the reader's light or dark scheme.

The same input gives the same bytes: ids are salted hashes, letters are outlines (no fonts needed), and no date is
written. Figures are drawn in light colours; a style sheet inside the SVG replaces them in a dark scheme. Importing this
module imports matplotlib, which takes a second.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine

from headrank.evaluation.report.formatting import one_line
from headrank.evaluation.run_folder import RunResults

GROUND, INK, SOFT, FAINT = "#ffffff", "#1d2329", "#5b6670", "#dfe3e6"
ZONE = "#f0f2f4"  # the middle zone's ground
# Okabe and Ito's palette, for colour-blind readers
BLUE, ORANGE, GREEN, PINK, SKY, AMBER = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"
SYSTEM_COLOURS = (BLUE, GREEN, PINK, SKY, AMBER)
GREY = "#777777"
HALO = "#fefefe"  # around marks on a map: white in both schemes
DARK = {
    GROUND: "#1b2127",
    INK: "#e4e8eb",
    SOFT: "#9aa6b0",
    FAINT: "#38424b",
    ZONE: "#262e36",
    BLUE: "#4aa8e0",
    ORANGE: "#f08a3c",
    GREEN: "#2fc79a",
    PINK: "#e09cc3",
    SKY: "#8fd0f5",
    AMBER: "#f2b632",
    GREY: "#a0a0a0",
}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "headrank",  # ids are random without it
    "svg.fonttype": "path",
    "text.parse_math": False,  # a $ in a name is no formula
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": GROUND,
    "legend.frameon": False,
}


def svg(draw: Callable[[Canvas], None], width: float, height: float) -> str:
    """Draw a new matplotlib figure and return it as an SVG element.

    Args:
        draw: called with the empty figure; draws into it.
        width: in inches.
        height: in inches.
    """
    out = io.StringIO()
    with _style():
        canvas = Canvas(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=0.05))
        draw(canvas)
        canvas.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = re.sub(r"\s+\n", "\n", text[text.index("<svg") :])  # without the XML and DTD heads, which name addresses
    opening = text.index(">") + 1
    return text[:opening] + _DARK_SHEET + text[opening:]


def system_colours(run: RunResults) -> dict[str, str]:
    """Assign a colour to each system, the same in every figure.

    The first stage is grey, the main system blue, and the main system before alignment orange.

    Returns:
        System -> colour, for example `first stage` -> `#777777`.
    """
    fixed = {run.reference: GREY, run.before: ORANGE}
    fixed = {name: colour for name, colour in fixed.items() if name is not None}
    fixed.setdefault(run.main, BLUE)
    others = [name for name in run.systems if name not in fixed]
    rest = SYSTEM_COLOURS[1:] if run.before else (ORANGE, *SYSTEM_COLOURS[1:])
    return fixed | {name: rest[i % len(rest)] for i, name in enumerate(others)}


def interval_mark(
    ax: Axes, x: float, y: int, interval: tuple[float, float] | None, colour: str, size: float = 6.0
) -> None:
    """Draw a dot at (x, y) and its interval, if given, as a horizontal line.

    Args:
        ax: the axes to draw in.
        x: the value.
        y: the row of the dot.
        interval: (lower end, upper end); None: only the dot is drawn.
        colour: the colour of dot and line.
        size: the size of the dot, in points.
    """
    if interval is not None:
        ax.plot(interval, [y, y], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=2)
    ax.plot(x, y, "o", color=colour, markersize=size, zorder=3)


def reference_line(ax: Axes, value: float, name: str) -> None:
    """Draw a dashed horizontal line across the axes.

    Args:
        ax: the axes to draw in.
        value: the height of the line, in data units.
        name: the text at its right end.
    """
    ax.axhline(value, color=GREY, linestyle="--", linewidth=1.2, zorder=0)
    ax.text(0.995, value, one_line(name), transform=ax.get_yaxis_transform(), ha="right", va="bottom", color=GREY)


def _dark_sheet() -> str:
    """CSS rules that replace each light colour in the fill and stroke of elements."""
    rules = [
        f'[style*="{part}: {light}"]{{{part}:{dark} !important}}'
        for light, dark in DARK.items()
        for part in ("fill", "stroke")
    ]
    return "\n<style>@media (prefers-color-scheme: dark){" + "".join(rules) + "}</style>"


_DARK_SHEET = _dark_sheet()


@contextmanager
def _style() -> Iterator[None]:
    """Apply the style of figures, independent of the user's matplotlibrc."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        # matplotlib's font draws some scripts as boxes; tables and captions show those names correctly
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
