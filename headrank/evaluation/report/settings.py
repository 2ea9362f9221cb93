"""The settings of the report, configured in `conf/report`."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from headrank.settings import Ge, Listed, settings, wrong


@settings
class ReportSettings:
    """The settings of a report: its figures, baseline and further runs.

    figures: a name that you choose -> a `headrank.evaluation.report.figures.Figure`, in the report's order. None as a
        value leaves that figure out. None for the whole mapping: the figures of this package.
    baseline: a system that the main system is tested against, in addition to the first stage. None: the main system
        before alignment, if an alignment is configured.
    examples: the number of queries per benchmark with the largest gain, and with the largest loss, whose best passages
        are shown with the words that made their scores, before and after alignment. 0: none.
    compared_runs: folders of other finished runs that figures compare with this run (models, context orders).

    Raises:
        ConfigError: a figure lacks `name`, `title` or `make`, or two figures share a name.
    """

    figures: Mapping[str, Any] | None = None
    baseline: str | None = None
    examples: Annotated[int, Ge(0)] = 1
    compared_runs: Listed[str] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for key, figure in (self.figures or {}).items():
            if figure is None:
                continue
            name, title = getattr(figure, "name", None), getattr(figure, "title", None)
            if not isinstance(name, str) or not isinstance(title, str) or not callable(getattr(figure, "make", None)):
                raise wrong(f"figures.{key}", figure, "an object with name, title and make(runs)")
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name in seen:
                expected = "a file name of letters, digits, - and _ that no other figure has"
                raise wrong(f"figures.{key}.name", name, expected)
            seen.add(name)

    def chosen_figures(self) -> list[Any]:
        """Return the figures of the report, in order. If `figures` is None, these are the figures of this package."""
        if self.figures is None:
            from headrank.evaluation.report.figures import default_figures  # lazy: importing matplotlib takes a second

            return list(default_figures())
        return [figure for figure in self.figures.values() if figure is not None]
