"""The report's tables and sentences: what is put beside what. No layout (table.py, report.html.j2), no measuring.

The main metric is compared with the reference in several places; everywhere the p values are corrected (Holm) over all
comparisons of the report on that metric, every system on every benchmark.
"""

from collections.abc import Sequence

from headrank.evaluation.formats import Form, Value, one_line, written
from headrank.evaluation.metrics import Metric, mean
from headrank.evaluation.results import BenchmarkResult, SystemResult
from headrank.evaluation.selectivity import Selectivity, selectivity
from headrank.evaluation.significance import holm
from headrank.evaluation.table import Column, Table, markdown_text

SIGNIFICANT = 0.05  # the level at which a corrected p value is called significant


def check_results(results: Sequence[BenchmarkResult]) -> None:
    """Refuse what cannot stand in one report (`ValueError`): no results, equal names, other metrics or references."""
    if not results:
        raise ValueError("a report needs at least one benchmark's result")
    names = [result.name for result in results]
    if len(set(names)) != len(names):
        raise ValueError(f"benchmark names must differ, these are {', '.join(names)}")
    for result in results[1:]:
        if (result.metrics, result.reference) != (results[0].metrics, results[0].reference):
            raise ValueError(
                f"benchmark {result.name!r} has metrics {', '.join(result.metrics)}, reference {result.reference!r}, "
                f"{results[0].name!r} {', '.join(results[0].metrics)} and {results[0].reference!r}: wanted the same"
            )


def system_names(results: Sequence[BenchmarkResult]) -> list[str]:
    """All systems, in order of appearance."""
    return list(dict.fromkeys(name for result in results for name in result.systems))


def main_table(results: Sequence[BenchmarkResult], metric: str) -> Table:
    """Systems x benchmarks in one metric, with the mean over benchmarks where there are several.

    A system that is missing on a benchmark has no mean: it would be one over other benchmarks.
    """
    rows: list[tuple[Value, ...]] = []
    for system in system_names(results):
        values = [r.systems[system].means[metric] if system in r.systems else None for r in results]
        present = [value for value in values if value is not None]
        average = [mean(present) if len(present) == len(values) else None] if len(values) > 1 else []
        rows.append((system, *values, *average))
    headings = [result.name for result in results] + (["Mean"] if len(results) > 1 else [])
    columns = (Column("System"), *(Column(one_line(h), Form.METRIC, best=True) for h in headings))
    return Table("main", Metric.parse(metric).label, columns, tuple(rows))


def changes_table(results: Sequence[BenchmarkResult], metric: str) -> Table | None:
    """Every system against the reference on every benchmark; None where there is only the reference."""
    adjusted = adjusted_p(results, metric)
    if not adjusted:
        return None
    reference, label = results[0].reference, Metric.parse(metric).label
    rows: list[tuple[Value, ...]] = []
    for result in results:
        before = result.systems[reference].means[metric]
        for name, system in result.systems.items():
            if name == reference:
                continue
            c = system.comparisons[metric]
            numbers = (before, system.means[metric], c.difference, c.p_t, c.p_randomization)
            rows.append((result.name, name, *numbers, adjusted[result.name, name], c.wins, c.ties, c.losses))
    columns = (
        *(Column("Benchmark"), Column("System")),
        *(Column(one_line(reference).capitalize(), Form.METRIC), Column("Reranked", Form.METRIC)),
        Column("Change", Form.CHANGE),
        *(Column("p (t)", Form.P), Column("p", Form.P), Column("p (Holm)", Form.P)),
        *(Column(heading, Form.COUNT) for heading in ("Won", "Tied", "Lost")),
    )
    note = (
        f"{label}, two-sided paired tests over queries: p (t) is Student's, p the randomization test's, p (Holm) the "
        f"latter corrected for the {len(adjusted)} comparison{'s' if len(adjusted) > 1 else ''} in this table. Won, "
        "tied and lost count queries."
    )
    return Table("changes", f"{one_line(reference).capitalize()} → reranked", columns, tuple(rows), note)


def metrics_table(results: Sequence[BenchmarkResult]) -> Table:
    """Every metric of every system on every benchmark."""
    metrics = results[0].metrics
    rows = [
        (result.name, name, *(system.means[metric] for metric in metrics), len(result.query_ids))
        for result in results
        for name, system in result.systems.items()
    ]
    columns = (
        *(Column("Benchmark"), Column("System")),
        *(Column(Metric.parse(metric).label, Form.METRIC) for metric in metrics),
        Column("Queries", Form.COUNT),
    )
    thresholds = {result.relevance_threshold for result in results}
    per_name = ", ".join(f"{result.relevance_threshold} on {one_line(result.name)}" for result in results)
    relevant = str(*thresholds) if len(thresholds) == 1 else per_name
    parts = [f"Means over all queries. nDCG uses grades (linear gain); relevant elsewhere means grade ≥ {relevant}."]
    for text, counts in (
        ("without a relevant passage", [result.queries_without_relevant for result in results]),
        ("without candidates", [result.queries_without_candidates for result in results]),
    ):
        if any(counts):
            named = ", ".join(f"{n} on {one_line(r.name)}" for n, r in zip(counts, results, strict=True) if n)
            parts.append(f"Queries {text} count as 0: {named}.")
    return Table("metrics", "All metrics", columns, tuple(rows), " ".join(parts))


def middle_zone_table(results: Sequence[BenchmarkResult]) -> Table | None:
    """Selectivity and homogenization of every system on every benchmark, and selectivity pooled over several.

    None where no system has scores in context order.
    """
    rows: list[tuple[Value, ...]] = []
    measured: list[Selectivity] = []
    for result in results:
        for name, system in result.systems.items():
            if system.middle_zone is not None and system.selectivity is not None:
                measured.append(system.selectivity)
                alike = system.middle_zone.homogenization
                numbers = (alike.deviation, alike.entropy, alike.nearly_equal)
                rows.append((result.name, name, *_selectivity_cells(system.selectivity), *numbers))
    if not rows:
        return None
    if len(results) > 1:
        for name, pooled in pooled_selectivity(results).items():
            rows.append(("all", name, *_selectivity_cells(pooled), None, None, None))
    columns = (
        *(Column("Benchmark"), Column("System")),
        *(Column("Relevant %", Form.PERCENT), Column("Irrelevant %", Form.PERCENT), Column("Selectivity", Form.POINTS)),
        *(Column("95 % from", Form.POINTS), Column("to", Form.POINTS)),
        *(Column("Std z", Form.NUMBER), Column("Entropy", Form.METRIC), Column("Alike %", Form.PERCENT)),
    )
    note = (
        "Relevant and irrelevant: how many of the zone's passages of that kind reach the top quartile; selectivity is "
        "their difference in percentage points with its bootstrap interval over queries. Std z, of the zone's "
        "scores, is in each system's own unit; entropy (1: no differences) is of the attention masses within the zone; "
        "alike are neighbouring scores closer than 1 % of a list's range. These definitions are this project's."
    )
    if any(0 == zone.relevant == zone.irrelevant for zone in measured):
        note += (
            " A system that ranks in context order (a first stage, where lists are read in its order) lifts nothing "
            "out of the zone by construction."
        )
    short = max((s.middle_zone.short_lists for r in results for s in r.systems.values() if s.middle_zone), default=0)
    if short:
        note += f" Lists with fewer than 4 passages are left out (up to {short} per benchmark)."
    return Table("middle_zone", "Middle zone", columns, tuple(rows), note)


def _selectivity_cells(s: Selectivity) -> tuple[Value, ...]:
    low, high = s.interval or (None, None)
    return s.relevant, s.irrelevant, s.difference, low, high


def pooled_selectivity(results: Sequence[BenchmarkResult]) -> dict[str, Selectivity]:
    """Selectivity per system with the lists of all benchmarks put together, for systems that have it on each."""
    pooled = {}
    for name in system_names(results):
        zones = [r.systems[name].middle_zone for r in results if name in r.systems]
        present = [zone for zone in zones if zone is not None]
        if len(present) == len(results):
            pooled[name] = selectivity([counts for zone in present for counts in zone.zone])
    return pooled


def adjusted_p(results: Sequence[BenchmarkResult], metric: str) -> dict[tuple[str, str], float]:
    """(benchmark, system) -> p of the randomization test against the reference, Holm-corrected over all of them."""
    raw = {
        (result.name, name): system.comparisons[metric].p_randomization
        for result in results
        for name, system in result.systems.items()
        if name != result.reference
    }
    return dict(zip(raw, holm(list(raw.values())), strict=True))


def change_lines(results: Sequence[BenchmarkResult], metric: str, main: str) -> list[str]:
    """A Markdown line per benchmark: `- dl20: first stage .4796 → headrank .5012 (+.0216, p .030; ...)`."""
    adjusted = adjusted_p(results, metric)
    lines = []
    for result in results:
        if main not in result.systems or main == result.reference:
            continue
        system = result.systems[main]
        c = system.comparisons[metric]
        before = written(result.systems[result.reference].means[metric], Form.METRIC)
        after = written(system.means[metric], Form.METRIC)
        names = [markdown_text(one_line(name)) for name in (result.name, result.reference, main)]
        lines.append(
            f"- {names[0]}: {names[1]} {before} → {names[2]} {after} ({written(c.difference, Form.CHANGE)}, "
            f"{p_text(adjusted[result.name, main])}; {c.wins} won, {c.ties} tied, {c.losses} lost of "
            f"{len(result.query_ids)} queries)"
        )
    return lines


def headline(results: Sequence[BenchmarkResult], metric: str, main: str) -> str:
    """The report's first sentence, in plain text: the main system against the reference."""
    label, reference = Metric.parse(metric).label, results[0].reference
    with_main = [result for result in results if main in result.systems]
    systems: list[SystemResult] = [result.systems[main] for result in with_main]
    after = mean([system.means[metric] for system in systems])
    where = one_line(with_main[0].name) if len(with_main) == 1 else f"average over {len(with_main)} benchmarks"
    start = f"{one_line(main)} reaches {label} {written(after, Form.METRIC)} on {where}"
    if main == reference:
        return f"{start}; no other system was measured."
    before = mean([result.systems[reference].means[metric] for result in with_main])
    change = written(after - before, Form.CHANGE)
    start += f", {one_line(reference)} {written(before, Form.METRIC)} ({change}"
    adjusted = adjusted_p(results, metric)
    if len(with_main) == 1:
        result, p = with_main[0], adjusted[with_main[0].name, main]
        verdict = "significant" if p < SIGNIFICANT else "not significant"
        return f"{start}; {p_text(p)}, {verdict} over {len(result.query_ids)} queries)."
    counts = []
    for word, sign in (("better", 1), ("worse", -1)):
        found = [
            result.name
            for result, system in zip(with_main, systems, strict=True)
            if sign * system.comparisons[metric].difference > 0
        ]
        sure = sum(adjusted[name, main] < SIGNIFICANT for name in found)
        if found:
            counts.append(f"{word} on {len(found)}, " + (f"significantly on {sure}" if sure else "none significantly"))
    return f"{start}): {'; '.join(counts) or 'the same on each'}."


def p_text(p: float) -> str:
    """`p .030` or `p <.001`."""
    return f"p {written(p, Form.P)}"
