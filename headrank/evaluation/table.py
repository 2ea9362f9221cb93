"""A table as data: columns with a form, rows of raw values; written as Markdown, as CSV, or by the HTML template."""

import csv
import io
import re
from dataclasses import dataclass

from headrank.evaluation.formats import Form, Value, written


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading and the form of its values. `best` marks the largest value in the HTML report."""

    heading: str
    form: Form = Form.TEXT
    best: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows; `name` is a file's name without its ending, `note` says below the table how to read it.

    Raises `ValueError` on a row that does not fit the columns.
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

    def cells(self) -> list[list[str]]:
        """The rows as text, not escaped."""
        return [
            [written(value, column.form) for value, column in zip(row, self.columns, strict=True)] for row in self.rows
        ]

    def best_rows(self, index: int) -> set[int]:
        """The rows that hold the largest value, as shown, of a column that is marked `best`; none for a single row."""
        column = self.columns[index]
        present = [(value, i) for i, row in enumerate(self.rows) if isinstance(value := row[index], float | int)]
        if not column.best or len(present) < 2:
            return set()
        top = written(max(value for value, _ in present), column.form)
        return {i for value, i in present if written(value, column.form) == top}

    def to_markdown(self) -> str:
        """A GitHub table, padded to be read in a terminal too; numbers to the right."""
        head = [markdown_text(column.heading) for column in self.columns]
        body = [[markdown_text(cell) for cell in row] for row in self.cells()]
        widths = [max(3, *(len(row[i]) for row in [head, *body])) for i in range(len(head))]
        left = [column.form is Form.TEXT for column in self.columns]

        def line(cells: list[str]) -> str:
            padded = (c.ljust(w) if at_left else c.rjust(w) for c, w, at_left in zip(cells, widths, left, strict=True))
            return f"| {' | '.join(padded)} |"

        rule = ["-" * w if at_left else "-" * (w - 1) + ":" for w, at_left in zip(widths, left, strict=True)]
        return "\n".join([line(head), line(rule), *(line(row) for row in body)])

    def to_csv(self) -> str:
        r"""Headings and values, comma-separated, lines ended by `\n`; None is an empty field.

        Numbers are at full precision and in the heading's unit: shares whose heading says % are times 100.
        """
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(column.heading for column in self.columns)
        writer.writerows(self.in_units())
        return out.getvalue()

    def in_units(self) -> list[list[Value]]:
        """The rows in their headings' units: shares, whose heading says % or points, are times 100."""
        shares = (Form.PERCENT, Form.POINTS)
        return [
            [
                value * 100 if column.form in shares and isinstance(value, float | int) else value
                for value, column in zip(row, self.columns, strict=True)
            ]
            for row in self.rows
        ]


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no cell border.

    An underscore between letters or digits is no markup and stays, so that names read well in a terminal.
    """
    escaped = re.sub(r"([\\`*\[\]<>|&~$#])", r"\\\1", text)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", escaped)
