"""The report of a run: `report.md` for terminals and repositories, `report.html` for people, figures, tables as CSV.

Both begin with the same sentence and main table. The HTML file is whole in itself: figures are inside, none is loaded.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from headrank.evaluation.formats import Form, one_line
from headrank.evaluation.illustration import Illustration
from headrank.evaluation.positions import positions_table
from headrank.evaluation.results import BenchmarkResult
from headrank.evaluation.table import Table, markdown_text
from headrank.evaluation.tables import (
    change_lines,
    changes_table,
    check_results,
    headline,
    main_table,
    metrics_table,
    middle_zone_table,
    system_names,
)
from headrank.files import atomic_write

ZONE_TEXT = (
    "The middle zone is the middle half of the context, where a model's attention tends to give passages nearly the "
    "same score, so that relevant ones stay unseen. Selectivity says whether a system still tells them apart there: "
    "how much likelier a relevant passage of the zone reaches the top quartile of the ranking than an irrelevant one "
    "(chance: 25 % for both)."
)
NOTICE = "notice"  # the fact that is said at the top of the report, beside the numbers
FIGURES = ("queries", "selectivity", "positions", "heads", "training")  # all names there are
TABLES = ("main", "changes", "metrics", "middle_zone", "positions", "training")


@dataclass(frozen=True, slots=True)
class _Content:
    """What both reports say."""

    title: str
    headline: str
    notice: str
    main: Table
    lines: list[str]
    changes: Table | None
    metrics: Table
    zone: Table | None
    positions: Table | None
    training: Table | None
    figures: list[Illustration]
    facts: dict[str, str]
    config_yaml: str

    @property
    def tables(self) -> list[Table]:
        tables = (self.main, self.changes, self.metrics, self.zone, self.positions, self.training)
        return [table for table in tables if table is not None]


def write_report(
    folder: Path,
    results: Sequence[BenchmarkResult],
    *,
    heads: Mapping[str, Any] | None = None,
    facts: Mapping[str, str] | None = None,
    config_yaml: str = "",
    metric: str | None = None,
    main: str | None = None,
    training: Sequence[Mapping[str, float | int]] = (),
) -> Path:
    """Write `report.md`, `report.html`, `figures/*.svg` and `tables/*.csv` into `folder`; returns the path of the HTML.

    heads: `HeadsFile.to_dict()` of the main system, for the head maps.
    facts: labels and values to list; the one called `notice` stands at the top.
    metric: the main metric, by default the first.
    main: the system that the report is about, by default the first that is not the reference.
    training: the epochs of its alignment, as `epochs.csv` has them.

    Each file is written atomically, `report.html` last; figures and tables of an earlier report that this one lacks are
    removed. Raises `ValueError` where the results do not fit together, or `metric` or `main` is not among them.
    """
    check_results(results)
    metric = metric or results[0].metrics[0]
    if metric not in results[0].metrics:
        raise ValueError(f"metric {metric!r} was not measured: wanted one of {', '.join(results[0].metrics)}")
    names = system_names(results)
    main = main or next((name for name in names if name != results[0].reference), results[0].reference)
    if main not in names:
        raise ValueError(f"system {main!r} is not in the results: wanted one of {', '.join(names)}")
    content = _content(results, heads, dict(facts or {}), config_yaml, metric, main, training)
    folder = Path(folder)
    _replace(folder / "figures", ".svg", FIGURES, {figure.name: figure.svg for figure in content.figures})
    _replace(folder / "tables", ".csv", TABLES, {table.name: table.to_csv() for table in content.tables})
    for name, text in (("report.md", _markdown(content)), ("report.html", _html(content))):
        with atomic_write(folder / name) as file:
            file.write(text)
    return folder / "report.html"


def _content(
    results: Sequence[BenchmarkResult],
    heads: Mapping[str, Any] | None,
    facts: dict[str, str],
    config_yaml: str,
    metric: str,
    main: str,
    training: Sequence[Mapping[str, float | int]],
) -> _Content:
    from headrank.evaluation.figures import illustrations  # late: matplotlib takes a second
    from headrank.evaluation.training import training_chart, training_table

    curves = training_chart(training)
    return _Content(
        title=f"{one_line(main)}: reranking report",
        headline=headline(results, metric, main),
        notice=facts.pop(NOTICE, ""),
        main=main_table(results, metric),
        lines=change_lines(results, metric, main),
        changes=changes_table(results, metric),
        metrics=metrics_table(results),
        zone=middle_zone_table(results),
        positions=positions_table(results),
        training=training_table(training),
        figures=illustrations(results, heads, metric=metric, main=main) + ([curves] if curves else []),
        facts=facts,
        config_yaml=config_yaml,
    )


def _replace(folder: Path, ending: str, known: Sequence[str], texts: Mapping[str, str]) -> None:
    for name in known:
        path = folder / f"{name}{ending}"
        if name in texts:
            with atomic_write(path) as file:
                file.write(texts[name])
        else:
            path.unlink(missing_ok=True)


def _markdown(content: _Content) -> str:
    """All that comes before the first second-level heading is printed at the end of a run."""
    parts = [f"# {markdown_text(content.title)}", markdown_text(content.headline)]
    if content.notice:
        parts.append(f"**Notice:** {markdown_text(one_line(content.notice, longest=2000))}")
    parts.append(f"{markdown_text(content.main.title)}:\n\n{content.main.to_markdown()}")
    if content.lines:
        parts.append("\n".join(content.lines))
    if content.changes is not None:
        parts += _section(content.changes)
    parts += _section(content.metrics)
    if content.zone is not None:
        parts += _section(content.zone, before=ZONE_TEXT)
    if content.positions is not None:
        parts.append(
            "By place in the context, with intervals: `tables/positions.csv`."
        )  # 8 rows a system and benchmark
    if content.training is not None:
        parts += _section(content.training)
    if content.figures:
        parts.append("## Figures")
        parts += [
            f"![{markdown_text(figure.title)}](figures/{figure.name}.svg)\n\n{markdown_text(figure.caption)}"
            for figure in content.figures
        ]
    if content.facts:
        rows = [f"- {markdown_text(one_line(k))}: {markdown_text(one_line(v, 2000))}" for k, v in content.facts.items()]
        parts += ["## Facts", "\n".join(rows)]
    if content.config_yaml:
        longest = max((len(run) for run in re.findall(r"`+", content.config_yaml)), default=0)
        fence = "`" * max(3, longest + 1)  # longer than any in the text, which would end the block
        parts += ["## Configuration", f"{fence}yaml\n{content.config_yaml.rstrip()}\n{fence}"]
    return "\n\n".join(parts) + "\n"


def _section(table: Table, before: str = "") -> list[str]:
    texts = (f"## {markdown_text(table.title)}", before, table.to_markdown(), markdown_text(table.note))
    return [text for text in texts if text]


def _html(content: _Content) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("headrank.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        content=content, zone_text=ZONE_TEXT, text_form=Form.TEXT, change_forms=(Form.CHANGE, Form.POINTS)
    )
