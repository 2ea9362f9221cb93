"""Make the tables of the report from results. `columns.py` declares their columns, `table.py` writes tables."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrank.evaluation.measures.bootstrap import mean_estimate
from headrank.evaluation.measures.metrics import Metric, mean
from headrank.evaluation.measures.middle_zone import BINS, HOMOGENIZATION
from headrank.evaluation.measures.probability import BINS as MASS_BINS
from headrank.evaluation.measures.results import BenchmarkResult, measured_zones, system_names
from headrank.evaluation.measures.selectivity import Selectivity
from headrank.evaluation.measures.suite import SuiteComparison, compare_systems, pooled_selectivity
from headrank.evaluation.report.columns import BASELINE, CHANGES, MIDDLE_ZONE, NOT_SHOWN, PROBABILITIES, SUITE, TRAINING
from headrank.evaluation.report.formatting import Form, Value, one_line
from headrank.evaluation.report.table import Column, Layout, Table


def main_table(results: Sequence[BenchmarkResult], metric: str) -> Table:
    """Make the table of one metric: a row per system, a column per benchmark, and the mean of several benchmarks.

    A system that is missing on a benchmark has no mean, because it would not be comparable.
    """
    rows: list[tuple[Value, ...]] = []
    for system in system_names(results):
        values = [r.systems[system].means[metric] if system in r.systems else None for r in results]
        present = [value for value in values if value is not None]
        average = [mean(present) if len(present) == len(values) else None] if len(values) > 1 else []
        rows.append((system, *values, *average))
    headings = [result.name for result in results] + ([f"Mean of {len(results)}"] if len(results) > 1 else [])
    columns = (Column("System"), *(Column(one_line(h), Form.METRIC, best=True) for h in headings))
    return Table("main", Metric.parse(metric).label, columns, tuple(rows))


def changes_table(results: Sequence[BenchmarkResult], metric: str) -> Table | None:
    """Compare every system with the reference in one metric, on every benchmark.

    The result is None if the reference is the only system.
    """
    compared = [compare_systems(results, metric, name, results[0].reference) for name in system_names(results)]
    return _comparison_table(CHANGES, results, [c for c in compared if c is not None])


def baseline_table(results: Sequence[BenchmarkResult], metric: str, main: str, baseline: str) -> Table | None:
    """Compare the main system with the system `baseline` in one metric, on every benchmark that has both.

    The result is None if no benchmark has both.
    """
    compared = compare_systems(results, metric, main, baseline)
    return None if compared is None else _comparison_table(BASELINE, results, [compared])


def suite_table(
    results: Sequence[BenchmarkResult],
    metric: str,
    main: str,
    baseline: str | None = None,
) -> Table | None:
    """Compare every system with the reference, and the main system with the baseline, over all benchmarks.

    The result is None for a single benchmark, which the other tables cover, or if no systems can be compared.
    """
    pairs = [(name, results[0].reference) for name in system_names(results)]
    pairs += [(main, baseline)] if baseline and baseline != results[0].reference else []
    compared = [c for c in (compare_systems(results, metric, *pair) for pair in pairs) if c is not None]
    if len(results) < 2 or not compared:
        return None
    records: list[dict[str, Value]] = []
    for c in compared:
        records.append(
            {
                "system": c.system,
                "against": c.against,
                "benchmarks": len(c.parts),
                "metric": (c.before, c.after),
                "change": c.after - c.before,
                "won": tuple(c.benchmarks),
                "significant": tuple(c.significant),
                "queries": tuple(c.queries),
            }
        )
    label = Metric.parse(metric).label
    note = (
        f"{label}, macro means: every benchmark has the same weight. w/t/l: won, tied, lost. The higher mean wins a "
        "benchmark; the win is significant if p of the randomization test, Holm-corrected over the benchmarks of the "
        "row, is below .05 (tied: not significant). Queries are counted over all benchmarks."
    )
    return SUITE.table(records, note=note, metric=label)


def _comparison_table(
    layout: Layout, results: Sequence[BenchmarkResult], compared: Sequence[SuiteComparison]
) -> Table | None:
    if not compared:
        return None
    metric = Metric.parse(compared[0].metric)
    judged = f"judged@{metric.cutoff}"
    means = {result.name: {s: system.means for s, system in result.systems.items()} for result in results}
    records: list[dict[str, Value]] = []
    for c in compared:
        shares = []
        for part in c.parts:
            both = [means[part.benchmark][name].get(judged) for name in (c.against, c.system)]
            shares.append(None if both[0] is None or both[1] is None else (both[0], both[1]))
            records.append(
                {
                    "system": c.system,
                    "benchmark": part.benchmark,
                    "queries": part.queries,
                    "judged": shares[-1],
                    "metric": (part.before, part.after),
                    "change": part.test.difference,
                    "p": part.test.p_randomization,
                    "p_holm": part.p_holm,
                    "won": part.test.wins,
                    "tied": part.test.ties,
                    "lost": part.test.losses,
                }
            )
        if len(c.parts) > 1:
            pair = None if None in shares else tuple(mean(side) for side in zip(*shares, strict=True))
            records.append(
                {
                    "system": c.system,
                    "benchmark": f"mean of {len(c.parts)}",
                    "judged": pair,
                    "queries": sum(part.queries for part in c.parts),
                    "metric": (c.before, c.after),
                    "change": c.after - c.before,
                    **c.queries._asdict(),
                }
            )
    note = (
        f"{metric.label}, before → after. p: two-sided paired randomization test over queries; p (Holm): corrected for "
        "the number of benchmarks in the comparison of two systems"
    )
    note += f" ({max(len(c.parts) for c in compared)} here). Won, tied and lost count queries."
    if any(record["judged"] for record in records):
        note += f" {Metric.parse(judged).label}: share of the first {metric.cutoff} passages that have a judgement."
    if any(len(c.parts) > 1 for c in compared):
        note += " Means over benchmarks are macro means."
    names = {"reference": one_line(compared[0].against), "main": one_line(compared[0].system)}
    if layout is CHANGES:
        names["reference"] = names["reference"].capitalize()
    return layout.table(records, note=note, metric=metric.label, judged=Metric.parse(judged).label, **names)


def metrics_table(results: Sequence[BenchmarkResult]) -> Table:
    """Make the table of all metrics: a row per benchmark and system, a column per metric."""
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
    """Make the table of the middle zone: selectivity and homogenization per benchmark and system.

    With several benchmarks, further rows hold each system's selectivity pooled over them. The result is None if no
    system has scores in context order.
    """
    records: list[dict[str, Value]] = []
    measured: list[Selectivity] = []
    short = 0
    for result in results:
        for name, system in result.systems.items():
            if system.middle_zone is not None and system.selectivity is not None:
                zone, short = system.middle_zone, max(short, system.middle_zone.short_lists)
                measured.append(system.selectivity)
                record: dict[str, Value] = {"benchmark": result.name, "system": name}
                for measure in HOMOGENIZATION:
                    found = mean_estimate([getattr(one, measure) for one in zone.per_list])
                    value = getattr(zone.homogenization, measure)  # without interval if values per list were not kept
                    record[measure] = found.cells if found else None if value is None else (value, None, None)
                records.append(record | _selectivity_values(system.selectivity))
    if not records:
        return None
    if len(results) > 1:
        records += [
            {"benchmark": "all", "system": name, **_selectivity_values(pooled)}
            for name, pooled in pooled_selectivity(results).items()
        ]
    note = (
        "Relevant and irrelevant: share of those passages in the zone that reach the top quartile; selectivity is "
        "their difference in percentage points. Std z is the standard deviation of the zone's scores, in each system's "
        "own unit; entropy is that of the attention masses within the zone (1: uniform); alike is the share of "
        "neighbouring scores closer than 1 % of a list's range. In brackets: 95 % bootstrap intervals over queries. "
        "These definitions are this project's."
    )
    if any(0 == zone.relevant == zone.irrelevant for zone in measured):
        note += (
            " A system that ranks in context order (such as a first stage whose order the lists keep) promotes no "
            "passage out of the zone by construction."
        )
    if short:
        note += f" Lists with fewer than 4 passages are left out (up to {short} per benchmark)."
    return MIDDLE_ZONE.table(records, note=note)


def positions_table(results: Sequence[BenchmarkResult]) -> Table | None:
    """Make the table of selectivity per benchmark, system and eighth of the context; None if nothing was measured."""
    rows: list[tuple[Value, ...]] = []
    for benchmark, system, zone in measured_zones(results):
        for i, part in enumerate(zone.by_position):
            shares = (part.relevant, part.irrelevant, part.difference)
            rows.append((benchmark, system, i / BINS, (i + 1) / BINS, *shares, *(part.interval or (None, None))))
    if not rows:
        return None
    columns = (
        *(Column("Benchmark"), Column("System")),
        *(Column("Position from %", Form.PERCENT), Column("to %", Form.PERCENT)),
        *(Column("Relevant %", Form.PERCENT), Column("Irrelevant %", Form.PERCENT), Column("Selectivity", Form.POINTS)),
        *(Column("95 % from", Form.POINTS), Column("to", Form.POINTS)),
    )
    note = (
        "Share of relevant and irrelevant passages in that part of the context that reach the top quartile, and their "
        "difference in percentage points with its bootstrap interval over queries."
    )
    return Table("positions", "Selectivity by position in the context", columns, tuple(rows), note)


def probabilities_table(results: Sequence[BenchmarkResult]) -> Table | None:
    """Make the table of Brier scores and calibration errors; None if no system has probabilities."""
    records: list[dict[str, Value]] = []
    origins: dict[str, str] = {}
    for result in results:
        for name, system in result.systems.items():
            if system.probability is not None:
                p = system.probability
                origins[name] = p.origin
                shares = {"relevant": p.relevant, "predicted": p.predicted, "constant": p.constant_brier}
                records.append(
                    {"benchmark": result.name, "system": name, "passages": p.passages, "brier": p.brier,
                     "error": p.error, **shares}
                )  # fmt: skip
    if not records:
        return None
    note = (
        "Brier: mean squared difference between probability and relevance (0 is perfect); of the share: of a constant, "
        f"the benchmark's share of relevant passages. ECE: expected calibration error over {MASS_BINS} bins of "
        "equal mass. Unjudged candidates count as irrelevant. Probabilities carry over to collections with a similar "
        "share of relevant candidates. Fitted on: "
    )
    note += "; ".join(f"{one_line(name)}: {origin or 'unknown'}" for name, origin in origins.items()) + "."
    return PROBABILITIES.table(records, note=note)


def training_table(epochs: Sequence[Mapping[str, Any]]) -> Table | None:
    """Make the table of an alignment's epoch log: loss and its parts, held-out measures, heads.

    Epochs are counted from 1, whereas the log counts from 0. The result is None without epochs.
    """
    if not epochs:
        return None
    names = dict.fromkeys(name for epoch in epochs for name in epoch)
    parts = [name for name in names if name.startswith("train/") and name != "train/loss"]
    known = list(TRAINING.columns)
    known[2:2] = [Column(one_line(name.removeprefix("train/")), Form.NUMBER, key=name) for name in parts]
    others = [name for name in names if name not in {column.key for column in known} | set(NOT_SHOWN)]
    known += [
        Column(one_line(name), Form.METRIC if name.startswith("val/") else Form.NUMBER, key=name) for name in others
    ]
    records = [
        {**epoch, "epoch": int(epoch["epoch"]) + 1, "heads/depth": _whole(epoch.get("heads/depth"))} for epoch in epochs
    ]
    note = "Loss is the mean over training lists; its parts are unweighted. Held-out queries are labelled queries."
    return replace(TRAINING, columns=tuple(known)).table(records, note=note)


def _selectivity_values(s: Selectivity) -> dict[str, Value]:
    low, high = s.interval or (None, None)
    difference = None if s.difference is None else (s.difference, low, high)
    return {"relevant": s.relevant, "irrelevant": s.irrelevant, "selectivity": difference}


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
