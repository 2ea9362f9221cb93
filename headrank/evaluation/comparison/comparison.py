"""Write a report over many runs: `comparison.md`, `comparison.html`, `comparison.csv` and `runs.csv`.

`runs.csv` lists each run. The other files list variants; a variant is a group of runs that differ only in their seed.

    write_comparison(Path("outputs/qwen3_4b/alignment_ablation"), runs)

The HTML page is self-contained. Unfinished runs are listed with their state.
"""

from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TypeAlias

from jinja2 import Environment, StrictUndefined

from headrank.evaluation.comparison.variants import Variant, Variants, make_variants
from headrank.evaluation.measures.metrics import Metric, mean
from headrank.evaluation.report.formatting import Form, Value, one_line
from headrank.evaluation.report.table import Column, Table, markdown_text
from headrank.evaluation.run_folder import FINISHED, NO_STATUS, CollectedRun
from headrank.io.files import atomic_write

ALL_RUNS = "all runs"
STATES = "Runs that are not finished"
STATES_NOTE = f"Their results are not used, except those of runs with {NO_STATUS}."

_Statistics: TypeAlias = tuple[float | None, float | None, int]  # mean, sample standard deviation, number of runs
_Row: TypeAlias = tuple[tuple[Value, ...], str, list[_Statistics]]  # a variant's name, a system, its columns


def write_comparison(folder: Path, runs: Sequence[CollectedRun], *, metric: str | None = None) -> Path:
    """Write `comparison.md`, `comparison.html`, `comparison.csv` and `runs.csv` into `folder`.

    Args:
        folder: the folder of the files.
        runs: the runs to compare.
        metric: the metric of the main table. None: the configured objective of the first run with results or, if it has
            none, its first metric.

    Returns:
        The path of the Markdown file.

    Raises:
        ValueError: no run has results, or the metric was not measured.
    """
    measured = [run for run in runs if run.results]
    if not measured:
        raise ValueError(f"none of the {len(runs)} runs has results: {_states(runs)}")
    metrics = list(dict.fromkeys(m for run in measured for result in run.results for m in result.metrics))
    metric = metric or str(measured[0].config.get("objective") or metrics[0])
    if metric not in metrics:
        raise ValueError(f"metric {metric!r} was not measured: expected one of {', '.join(metrics)}")
    variants = make_variants(measured)
    main, results, states = main_table(variants, metric), results_table(variants, metrics), state_lines(runs)
    title = f"{len(measured)} of {len(runs)} runs compared: {_states(runs)}"
    texts = {
        "comparison.md": _markdown(title, main, states, results),
        "comparison.html": _html(title, main, states, results),
        "comparison.csv": results.to_csv(),
        "runs.csv": runs_table(runs, metrics).to_csv(),
    }
    for name, text in texts.items():
        with atomic_write(folder / name) as file:
            file.write(text)
    return folder / "comparison.md"


def main_table(variants: Variants, metric: str) -> Table:
    """Make the table of one metric: a row per variant and system, a column per benchmark, and one for their mean.

    A single benchmark has no mean. Cells are means over the runs of a variant; a run that lacks a benchmark is left out
    of the mean over benchmarks. A system with equal results in every variant, such as the first stage, has one row.
    """
    benchmarks = list(dict.fromkeys(r.name for v in variants.variants for run in v.runs for r in run.results))
    averaged = len(benchmarks) > 1
    rows: list[_Row] = []
    for variant in variants.variants:
        for system in _systems(variant):
            each = [[_value(run, name, system, metric) for name in benchmarks] for run in variant.runs]
            means = [mean([v for v in row if v is not None]) if None not in row else None for row in each]
            columns = [*zip(*each, strict=True), *([means] if averaged else [])]
            rows.append((variant.name, system, [variant.statistics(column) for column in columns]))
    rows = _merge_constant_rows(rows, variants)
    spreads = any(spread is not None for *_, cells in rows for _, spread, _ in cells)
    columns = [*_key_columns(variants), Column("System")]
    for name in [*benchmarks, *(["Mean"] if averaged else [])]:
        columns += [Column(one_line(name), Form.METRIC, best=True), *([Column("±", Form.METRIC)] if spreads else [])]
    columns += [Column("Runs", Form.COUNT)]
    body = tuple(
        (*name, system, *(v for m, s, _ in cells for v in ((m, s) if spreads else (m,))), max(n for *_, n in cells))
        for name, system, cells in rows
    )
    note = "Means and sample standard deviations (±) over runs that differ only in their seed." if spreads else ""
    return Table("main", Metric.parse(metric).label, tuple(columns), body, note)


def results_table(variants: Variants, metrics: Sequence[str]) -> Table:
    """Make the table of all metrics: a row per variant, system and benchmark. Cells are means over a variant's runs."""
    rows = []
    for variant in variants.variants:
        for system in _systems(variant):
            for name in dict.fromkeys(r.name for run in variant.runs for r in run.results if system in r.systems):
                cells = [variant.statistics([_value(run, name, system, m) for run in variant.runs]) for m in metrics]
                rows.append(((*variant.name, system, name), cells))
    spreads = any(spread is not None for _, cells in rows for _, spread, _ in cells)
    columns = [*_key_columns(variants), Column("System"), Column("Benchmark")]
    for metric in metrics:
        label = Metric.parse(metric).label
        columns += [Column(label, Form.METRIC), *([Column(f"{label} ±", Form.METRIC)] if spreads else [])]
    columns += [Column("Runs", Form.COUNT)]
    body = tuple(
        (*start, *(v for m, s, _ in cells for v in ((m, s) if spreads else (m,))), max(n for *_, n in cells))
        for start, cells in rows
    )
    return Table("results", "All metrics", tuple(columns), body)


def state_lines(runs: Sequence[CollectedRun]) -> list[str]:
    """Describe each run that is not finished in one line: folder, state, stage, time, and the reason if known."""
    lines = []
    for run in runs:
        if run.state != FINISHED:
            where = f" at stage {run.stage}" if run.stage not in ("", "none") else ""
            state = "running or stopped" if run.state == "running" else run.state
            reason = f": {one_line(run.reason, 500)}" if run.reason else ""
            lines.append(f"{run.folder}: {state}{where}{f', {run.time}' if run.time else ''}{reason}")
    return lines


def runs_table(runs: Sequence[CollectedRun], metrics: Sequence[str]) -> Table:
    """Make the table of all runs: a row per run, system and benchmark. A run without results has one row."""
    keys = list(dict.fromkeys(key for run in runs for key in run.overrides))
    rows: list[tuple[Value, ...]] = []
    for run in runs:
        start = (str(run.folder), run.state, run.seed, *(run.overrides.get(key) for key in keys))
        rows += [
            (*start, system, result.name, *(measured.means.get(metric) for metric in metrics))
            for result in run.results
            for system, measured in result.systems.items()
        ] or [(*start, *[None] * (2 + len(metrics)))]
    headings = ("Folder", "State", "Seed", *keys, "System", "Benchmark", *metrics)
    return Table("runs", "Runs", tuple(Column(heading) for heading in headings), tuple(rows))


def _value(run: CollectedRun, benchmark: str, system: str, metric: str) -> float | None:
    for result in run.results:
        if result.name == benchmark and system in result.systems:
            return result.systems[system].means.get(metric)
    return None


def _systems(variant: Variant) -> list[str]:
    return list(dict.fromkeys(name for run in variant.runs for result in run.results for name in result.systems))


def _merge_constant_rows(rows: list[_Row], variants: Variants) -> list[_Row]:
    """Merge the rows of each system that has equal results in every variant; merged rows come first."""
    by_system: dict[str, list[_Row]] = {}
    for row in rows:
        by_system.setdefault(row[1], []).append(row)
    name = (ALL_RUNS, *[None] * (len(variants.keys) - 1))
    total, merged = len(variants.variants), []
    for system, found in by_system.items():
        values = [[value for value, *_ in cells] for *_, cells in found]
        if 1 < total == len(found) == values.count(values[0]):
            runs = sum(len(variant.runs) for variant in variants.variants)
            merged.append((name, system, [(value, None, runs) for value in values[0]]))
    constant = {system for _, system, _ in merged}
    return merged + [row for row in rows if row[1] not in constant]


def _key_columns(variants: Variants) -> list[Column]:
    return [Column(one_line(key).capitalize() if key == "folder" else one_line(key)) for key in variants.keys]


def _states(runs: Sequence[CollectedRun]) -> str:
    """The number of runs per state, finished runs first."""
    counts = Counter(run.state for run in runs)
    first = sorted(counts, key=lambda state: state != FINISHED)
    return ", ".join(f"{counts[state]} {state}" for state in first)


def _markdown(title: str, main: Table, states: Sequence[str], results: Table) -> str:
    """The Markdown report. The command prints the part before the last second-level heading."""
    parts = [
        f"# {markdown_text(title)}",
        f"## {markdown_text(main.title)}",
        main.to_markdown(),
        markdown_text(main.note),
    ]
    if states:
        parts += [f"## {STATES}", "\n".join(f"- {markdown_text(line)}" for line in states), STATES_NOTE]
    parts += [f"## {markdown_text(results.title)}", results.to_markdown()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _html(title: str, main: Table, states: Sequence[str], results: Table) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = resources.files("headrank.evaluation.comparison").joinpath("comparison.html.j2")
    source = page.read_text(encoding="utf-8")
    return environment.from_string(source).render(
        title=title, main=main, results=results, text_form=Form.TEXT,
        states=states, states_title=STATES, states_note=STATES_NOTE,
    )  # fmt: skip
