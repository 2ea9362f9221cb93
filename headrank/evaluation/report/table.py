"""Represent a table as columns and rows of unformatted values, and write it as Markdown, CSV or LaTeX.

A `Layout` declares a table's columns; each column names the record key it shows.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from headrank.evaluation.report.formatting import MISSING, Form, Number, Value, format_value


class Shape(StrEnum):
    """How many numbers a cell holds and how they are joined. Each is formatted by the column's `Form`."""

    ONE = "one"  # .5012
    PAIR = "pair"  # before and after: .4796 → .5012
    TALLY = "tally"  # won, tied and lost: 9 / 1 / 4
    INTERVAL = "interval"  # a value with its 95 % interval: +43.2 [+38.1, +48.0]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, and the format of its values.

    form: the kind of its values.
    best: whether the largest value is bold.
    key: the key of the column's value in a record (`Layout.table`).
    shape: the number of values in a cell.
    signed: whether gains and losses are coloured in the HTML report.
    optional: whether the column is left out if no row has a value.
    """

    heading: str
    form: Form = Form.TEXT
    best: bool = False
    key: str = ""
    shape: Shape = Shape.ONE
    signed: bool = False
    optional: bool = False

    def text(self, value: Value) -> str:
        """Format a cell of this column as text, without escapes for Markdown or LaTeX."""
        if not isinstance(value, tuple):
            return format_value(value, self.form)
        parts = [format_value(part, self.form) for part in value]
        if self.shape is Shape.PAIR:
            return " → ".join(parts)
        if self.shape is Shape.TALLY:
            return " / ".join(parts)
        return parts[0] if value[1] is None else f"{parts[0]} [{parts[1]}, {parts[2]}]"

    @property
    def csv_headings(self) -> tuple[str, ...]:
        """The headings in a CSV file, one per number of a cell."""
        endings = {
            Shape.PAIR: (" before", " after"),
            Shape.TALLY: (" won", " tied", " lost"),
            Shape.INTERVAL: ("", " 95 % from", " 95 % to"),
        }
        return tuple(self.heading + ending for ending in endings.get(self.shape, ("",)))


@dataclass(frozen=True, slots=True)
class Table:
    """A table: columns, and rows of unformatted values.

    name: the name of its files, without suffix.
    title: the heading above it.
    note: how to read the table, printed below it.

    Raises:
        ValueError: a row does not fit the columns, or a cell does not fit its column's shape.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.name!r}: a row of {len(row)} values for {len(self.columns)} columns")
            for value, column in zip(row, self.columns, strict=True):
                expected = len(column.csv_headings)
                if value is not None and (len(value) if isinstance(value, tuple) else 1) != expected:
                    raise ValueError(
                        f"table {self.name!r}: {value!r} in column {column.heading!r}, expected {expected}"
                    )

    def cells(self) -> list[list[str]]:
        """Return the rows formatted as text, without escapes for Markdown or LaTeX."""
        return [[column.text(value) for value, column in zip(row, self.columns, strict=True)] for row in self.rows]

    def best_rows(self, index: int) -> set[int]:
        """Return the indices of the rows whose formatted value is the largest of the column at `index`.

        Empty if the column is not a `best` column or has fewer than two values.
        """
        column = self.columns[index]
        present = [(value, i) for i, row in enumerate(self.rows) if isinstance(value := row[index], float | int)]
        if not column.best or len(present) < 2:
            return set()
        top = column.text(max(value for value, _ in present))
        return {i for value, i in present if column.text(value) == top}

    def tone(self, row: int, index: int) -> str:
        """Return the colour class of a cell for HTML: `up` for a gain, `down` for a loss, or empty.

        It is empty unless the column is `signed`.

        Args:
            row: the index of the row.
            index: the index of the column.
        """
        value, column = self.rows[row][index], self.columns[index]
        first = value[0] if isinstance(value, tuple) else value
        if not column.signed or not isinstance(first, float | int) or column.text(first)[0] not in "+-":
            return ""
        return "up" if first > 0 else "down"

    def to_markdown(self) -> str:
        """Write the table in GitHub's Markdown, padded for terminals. Numbers are right-aligned, best values bold."""
        head = [markdown_text(column.heading) for column in self.columns]
        body = self._marked(markdown_text, "**{}**")
        widths = [max(3, *(len(row[i]) for row in [head, *body])) for i in range(len(head))]
        left = [column.form is Form.TEXT for column in self.columns]

        def line(cells: list[str]) -> str:
            padded = (c.ljust(w) if at_left else c.rjust(w) for c, w, at_left in zip(cells, widths, left, strict=True))
            return f"| {' | '.join(padded)} |"

        rule = ["-" * w if at_left else "-" * (w - 1) + ":" for w, at_left in zip(widths, left, strict=True)]
        return "\n".join([line(head), line(rule), *(line(row) for row in body)])

    def to_csv(self) -> str:
        r"""Write headings and values as CSV, with line ends `\n`; None is an empty field.

        Numbers have full precision and the unit of the heading: shares under a heading with % are multiplied by 100.
        Pairs and intervals have one column per number.
        """
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.unit_headings)
        writer.writerows(self.in_units())
        return out.getvalue()

    @property
    def unit_headings(self) -> list[str]:
        """The headings of `in_units`; pairs and intervals have one per number."""
        return [heading for column in self.columns for heading in column.csv_headings]

    def in_units(self) -> list[list[str | Number]]:
        """Return the rows with one number per field, in the units of the headings.

        Shares under a heading with % are multiplied by 100.
        """
        rows = []
        for row in self.rows:
            fields: list[str | Number] = []
            for value, column in zip(row, self.columns, strict=True):
                parts = value if isinstance(value, tuple) else (value,) * len(column.csv_headings)
                scale = 100 if column.form in (Form.PERCENT, Form.POINTS) else 1
                fields += [part * scale if isinstance(part, float | int) else part for part in parts]
            rows.append(fields)
        return rows

    def to_latex(self) -> str:
        r"""Write a booktabs `tabular` for `\input`. The best values are bold; title and note are a comment above it."""
        columns = "".join("l" if column.form is Form.TEXT else "r" for column in self.columns)
        head = [latex_text(column.heading) for column in self.columns]
        body = self._marked(latex_text, r"\textbf{{{}}}")
        lines = ["% " + " ".join(f"{self.title}. {self.note}".split()), r"% needs \usepackage{booktabs}"]
        lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rf"{' & '.join(head)} \\", r"\midrule"]
        lines += [rf"{' & '.join(row)} \\" for row in body]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"

    def _marked(self, escape: Callable[[str], str], bold: str) -> list[list[str]]:
        """The escaped cells, with the best values formatted by `bold`."""
        best = [self.best_rows(index) for index in range(len(self.columns))]
        return [
            [bold.format(escape(cell)) if i in best[j] else escape(cell) for j, cell in enumerate(row)]
            for i, row in enumerate(self.cells())
        ]


@dataclass(frozen=True, slots=True)
class Layout:
    """A table without rows: name, title and columns. `table` replaces `{names}` in the title and the headings."""

    name: str
    title: str
    columns: tuple[Column, ...]

    def table(self, records: Iterable[Mapping[str, Value]], *, note: str = "", **names: str) -> Table:
        """Build the table of these records.

        Args:
            records: one per row, column key -> value. A missing key gives an empty cell; an optional column without
                any value is left out.
            note: how to read the table.
            names: replacements for `{names}` in the title and the headings.
        """
        records = list(records)
        columns = tuple(
            replace(column, heading=column.heading.format(**names))
            for column in self.columns
            if not column.optional or any(record.get(column.key) is not None for record in records)
        )
        rows = tuple(tuple(record.get(column.key) for column in columns) for record in records)
        return Table(self.name, self.title.format(**names), columns, rows, note)


def markdown_text(text: str) -> str:
    """Escape text so that Markdown shows it verbatim.

    Underscores between letters or digits are no markup and stay, so that names are readable in a terminal.
    """
    escaped = re.sub(r"([\\`*\[\]<>|&~$#])", r"\\\1", text)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", escaped)


_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
    "→": r"$\rightarrow$",
    "≥": r"$\geq$",
    "×": r"$\times$",
    MISSING: "--",
    "…": r"\ldots{}",
}


def latex_text(text: str) -> str:
    r"""Escape text so that LaTeX shows it verbatim.

    Brackets are enclosed in braces, because after `\\` they would be an argument. Hyphens before numbers become minus
    signs.
    """
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w.])-(?=\.?\d)", "$-$", escaped)
