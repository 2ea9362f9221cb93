"""Write the report of a run: `report.md`, `report.html`, figures, and tables as CSV and LaTeX.

Both reports begin with the same sentence and the same main table. The HTML file is self-contained.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from headrank.evaluation.report.examples import RenderedExample, examples_table, render_examples
from headrank.evaluation.report.figure import Illustration, draw_figures
from headrank.evaluation.report.formatting import Form, one_line
from headrank.evaluation.report.settings import ReportSettings
from headrank.evaluation.report.summary import change_lines, headline
from headrank.evaluation.report.table import Table, markdown_text
from headrank.evaluation.report.tables import (
    baseline_table,
    changes_table,
    main_table,
    metrics_table,
    middle_zone_table,
    positions_table,
    probabilities_table,
    suite_table,
    training_table,
)
from headrank.evaluation.run_folder import RunResults
from headrank.io.files import atomic_write

NOTICE = "notice"  # the fact shown at the top of the report
ZONE_TEXT = (
    "The middle zone is the middle half of the context, where a model's attention tends to give passages nearly the "
    "same score, so relevant passages are overlooked. Selectivity measures whether a system still separates them: how "
    "much likelier a relevant passage of the zone reaches the top quartile of the ranking than an irrelevant one "
    "(chance: 25 % for both)."
)


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the report: heading, paragraph, and the names of its tables and figures, in order.

    A section without any existing table or figure is left out.
    """

    title: str
    tables: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    text: str = ""
    folded: tuple[str, ...] = ()  # long tables: collapsed in HTML, only their files are named in Markdown


EXAMPLES = "Largest gains and losses"
LAYOUT = (
    Section("Alignment", figures=("alignment",)),
    Section("Over the suite", tables=("suite",)),
    Section("First stage → reranked", tables=("changes",), figures=("queries",)),
    Section("Against the baseline", tables=("baseline",)),
    Section(EXAMPLES, tables=("examples",)),
    Section("All metrics", tables=("metrics",)),
    Section(
        "Middle zone",
        tables=("middle_zone",),
        figures=("selectivity", "selectivity_runs", "positions", "homogenization"),
        text=ZONE_TEXT,
        folded=("positions",),
    ),
    Section("Probabilities of relevance", ("probabilities",), ("reliability",)),
    Section("Training", ("training",), ("training",)),
    Section("Heads", figures=("heads", "head_curves")),
    Section("Context order", figures=("orders",)),
    Section("Cost", figures=("latency",)),
)
"""The sections after the main table. Figures of other names come last, in a separate section."""
OTHERS = "More figures"


@dataclass(frozen=True, slots=True)
class _Part:
    title: str
    text: str
    tables: list[Table]
    figures: list[Illustration]
    folded: list[Table]
    examples: list[RenderedExample]


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of both reports."""

    title: str
    headline: str
    notice: str
    main: Table
    lines: list[str]
    parts: list[_Part]
    facts: dict[str, str]
    config_yaml: str


def write_report(
    folder: Path,
    run: RunResults,
    settings: ReportSettings | None = None,
    *,
    facts: Mapping[str, str] | None = None,
    config_yaml: str = "",
    compared_runs: Sequence[RunResults] = (),
) -> Path:
    """Write `report.md`, `report.html`, `figures/*` and `tables/*.csv`, `*.tex` into `folder`.

    Each file is written atomically, `report.html` last. Figures and tables of an earlier report that this report lacks
    are removed.

    Args:
        folder: the run folder.
        run: the results of the run.
        settings: the figures and the baseline; None: the defaults.
        facts: label -> value, listed at the end. The fact `notice` is shown at the top instead. None: no facts are
            listed.
        config_yaml: the composed configuration.
        compared_runs: other runs for figures that compare runs.

    Returns:
        The path of `report.html`.

    Raises:
        ValueError: the baseline was not measured. Exceptions of figures are not caught.
    """
    settings = settings or ReportSettings()
    baseline = settings.baseline or run.before
    if baseline is not None and baseline not in run.systems:
        raise ValueError(f"report.baseline {baseline!r} was not measured: expected one of {', '.join(run.systems)}")
    tables = _tables(run, baseline)
    figures = draw_figures(settings.chosen_figures(), (run, *compared_runs))
    facts = dict(facts or {})
    content = _Content(
        title=f"{one_line(run.main)}: reranking report",
        headline=headline(run.benchmarks, run.metric, run.main),
        notice=facts.pop(NOTICE, ""),
        main=tables["main"],
        lines=change_lines(run.benchmarks, run.metric, run.main),
        parts=_parts(tables, figures, list(render_examples(run.examples))),
        facts=facts,
        config_yaml=config_yaml,
    )
    folder = Path(folder)
    _replace(folder / "figures", {f"{figure.name}{figure.ending}": figure.image for figure in figures})
    files = {f"{name}.csv": table.to_csv().encode() for name, table in tables.items()}
    _replace(folder / "tables", files | {f"{name}.tex": table.to_latex().encode() for name, table in tables.items()})
    for name, text in (("report.md", _markdown(content)), ("report.html", _html(content))):
        with atomic_write(folder / name) as file:
            file.write(text)
    return folder / "report.html"


def _tables(run: RunResults, baseline: str | None) -> dict[str, Table]:
    results, metric = run.benchmarks, run.metric
    made = (
        main_table(results, metric),
        suite_table(results, metric, run.main, baseline),
        changes_table(results, metric),
        baseline_table(results, metric, run.main, baseline) if baseline not in (None, run.reference) else None,
        metrics_table(results),
        middle_zone_table(results),
        positions_table(results),
        probabilities_table(results),
        training_table(run.epochs),
        examples_table(run.examples),
    )
    return {table.name: table for table in made if table is not None}


def _parts(
    tables: Mapping[str, Table], figures: Sequence[Illustration], examples: list[RenderedExample]
) -> list[_Part]:
    known = {name for section in LAYOUT for name in section.figures}
    others = Section(OTHERS, figures=tuple(figure.name for figure in figures if figure.name not in known))
    by_name = {figure.name: figure for figure in figures}
    parts = [
        _Part(
            section.title,
            section.text,
            [tables[name] for name in section.tables if name in tables],
            [by_name[name] for name in section.figures if name in by_name],
            [tables[name] for name in section.folded if name in tables],
            examples if section.title == EXAMPLES else [],
        )
        for section in (*LAYOUT, others)
    ]
    return [part for part in parts if part.tables or part.figures]


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write these files and remove other figures and tables of an earlier report from the folder."""
    for name, content in files.items():
        with atomic_write(folder / name, "wb") as file:
            file.write(content)
    for path in folder.glob("*") if folder.is_dir() else ():
        if path.suffix in (".svg", ".png", ".csv", ".tex") and path.name not in files:
            path.unlink()


def _markdown(content: _Content) -> str:
    """The Markdown report. A run prints the part before the first second-level heading at its end."""
    texts = [f"# {markdown_text(content.title)}", markdown_text(content.headline)]
    if content.notice:
        texts.append(f"**Notice:** {markdown_text(one_line(content.notice, longest=2000))}")
    texts.append(f"{markdown_text(content.main.title)}:\n\n{content.main.to_markdown()}")
    if content.lines:
        texts.append("\n".join(content.lines))
    for part in content.parts:
        texts += [f"## {markdown_text(part.title)}", part.text]
        for table in part.tables:
            texts += [_title(table, part), table.to_markdown(), markdown_text(table.note)]
        texts += [f"{markdown_text(table.title)}: `tables/{table.name}.csv`." for table in part.folded]
        for figure in part.figures:
            path = f"figures/{figure.name}{figure.ending}"
            texts += [f"![{markdown_text(figure.title)}]({path})", markdown_text(figure.caption)]
    if content.facts:
        rows = [f"- {markdown_text(one_line(k))}: {markdown_text(one_line(v, 2000))}" for k, v in content.facts.items()]
        texts += ["## Facts", "\n".join(rows)]
    if content.config_yaml:
        longest = max((len(run) for run in re.findall(r"`+", content.config_yaml)), default=0)
        fence = "`" * max(3, longest + 1)  # longer than any fence in the text
        texts += ["## Configuration", f"{fence}yaml\n{content.config_yaml.rstrip()}\n{fence}"]
    return "\n\n".join(text for text in texts if text) + "\n"


def _title(table: Table, part: _Part) -> str:
    return "" if table.title == part.title else f"{markdown_text(table.title)}:"


def _html(content: _Content) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("headrank.evaluation.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(content=content, text_form=Form.TEXT)
