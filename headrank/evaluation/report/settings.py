"""What a report shows, as settings: `conf/report`."""

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from headrank.evaluation.report.columns import LAYOUTS
from headrank.settings import Listed, meant, settings, wrong


@settings
class ReportSettings:
    """figures: your name for it -> a `headrank.evaluation.report.figures.Figure`, in the report's order; an entry that
        is None is left out; None for all: the figures that come with this package.
    columns: table -> the keys of the columns that it shows, in order; a table without any shows its own choice.
    baseline: a system that the main one is tested against, besides the first stage; None: the main system before
        alignment, if there is one.
    beside: folders of other finished runs that the figures compare with this one: other models, other context orders.

    Raises `ValueError` on tables, columns and figures that cannot be.
    """

    figures: Mapping[str, Any] | None = None
    columns: Mapping[str, Listed[str] | None] = field(default_factory=dict)
    baseline: str | None = None
    beside: Listed[str] = ()

    def __post_init__(self) -> None:
        for table, keys in self.columns.items():
            if table not in LAYOUTS:
                raise wrong("columns", table, f"tables of {', '.join(LAYOUTS)}{meant(table, LAYOUTS)}")
            if keys is None:
                continue
            known = LAYOUTS[table].keys
            # the parts of a loss are columns of the training table too, and known only when it is trained
            unknown = [
                key for key in keys if key not in known and not (table == "training" and key.startswith("train/"))
            ]
            if unknown or not keys:
                raise wrong(f"columns.{table}", list(keys), f"some of {', '.join(known)}")
        seen: set[str] = set()
        for key, figure in (self.figures or {}).items():
            if figure is None:
                continue
            name, title = getattr(figure, "name", None), getattr(figure, "title", None)
            if not isinstance(name, str) or not isinstance(title, str) or not callable(getattr(figure, "make", None)):
                raise wrong(f"figures.{key}", figure, "an object with name, title and make(runs)")
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name in seen:
                expected = "letters, digits, - and _, which name its file, and another name for each figure"
                raise wrong(f"figures.{key}.name", name, expected)
            seen.add(name)

    def drawn(self) -> list[Any]:
        """The figures to draw, in order."""
        if self.figures is None:
            from headrank.evaluation.report.figures import default_figures  # late: matplotlib takes a second

            return list(default_figures())
        return [figure for figure in self.figures.values() if figure is not None]
