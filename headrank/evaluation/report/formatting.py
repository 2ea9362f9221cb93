"""Format numbers and names for reports: metrics without leading zero (.5012), shares as percentages (57.4)."""

import re
from enum import StrEnum
from typing import TypeAlias

Number: TypeAlias = float | int | None
Value: TypeAlias = str | Number | tuple[Number, ...]

MISSING = "–"  # shown for None
_LONGEST_NAME = 48  # characters of a name; longer names would push a table's numbers out of view


class Form(StrEnum):
    """The kind of value in a column, which determines its format."""

    TEXT = "text"
    COUNT = "count"  # 53
    METRIC = "metric"  # .5012
    CHANGE = "change"  # +.0216
    P = "p"  # .031, or <.001
    PERCENT = "percent"  # a share, times 100: 57.4
    POINTS = "points"  # a difference of shares in percentage points: +43.2
    NUMBER = "number"  # in any unit, three significant digits: 1.23


def format_value(value: Value, form: Form) -> str:
    """Format a value as text in the given form. None becomes a dash.

    Raises:
        TypeError: the value is text or a tuple, but the form is one for numbers.
    """
    if value is None:
        return MISSING
    if form is Form.TEXT:
        return one_line(str(value))
    if isinstance(value, str | tuple):
        raise TypeError(f"{value!r} in a column of form {form}: expected a number")
    if form is Form.COUNT:
        return f"{value:d}"
    if form is Form.METRIC:
        return _decimal(value, 4)
    if form is Form.CHANGE:
        return _decimal(value, 4, sign=True)
    if form is Form.P:
        return "<.001" if value < 0.0005 else _decimal(value, 3)  # below .0005 three decimals would show .000
    if form is Form.PERCENT:
        return f"{100 * value:.1f}"
    if form is Form.POINTS:
        text = f"{100 * value:+.1f}"
        return "0.0" if float(text) == 0 else text
    return f"{value:.3g}"


def one_line(text: str, longest: int = _LONGEST_NAME) -> str:
    """Put text on one line: runs of white space and control characters become a space.

    Text of more than `longest` characters is cut and ends in an ellipsis.
    """
    flat = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"


def _decimal(value: float, decimals: int, *, sign: bool = False) -> str:
    """Fixed decimals without a leading zero. A number that rounds to 0 has no sign."""
    text = f"{value:{'+' if sign else ''}.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return re.sub(r"^([+-]?)0\.", r"\1.", text)
