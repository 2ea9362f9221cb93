"""Selectivity by place in the context, with its interval: the figures behind the report's curves."""

from collections.abc import Sequence

from headrank.evaluation.measures.middle_zone import BINS
from headrank.evaluation.measures.results import BenchmarkResult
from headrank.evaluation.report.formatting import Form, Value
from headrank.evaluation.report.table import Column, Table


def positions_table(results: Sequence[BenchmarkResult]) -> Table | None:
    """Every system on every benchmark, a row for each of the context's 8 equal parts; None where none was measured."""
    rows: list[tuple[Value, ...]] = []
    for result in results:
        for name, system in result.systems.items():
            if system.middle_zone is None or not system.middle_zone.lists:
                continue
            zone = system.middle_zone
            for i, (counts, interval) in enumerate(zip(zone.positions, zone.position_intervals, strict=True)):
                shares = (counts.relevant_share, counts.irrelevant_share, counts.difference)
                low, high = interval or (None, None)
                rows.append((result.name, name, i / BINS, (i + 1) / BINS, *shares, low, high))
    if not rows:
        return None
    columns = (
        *(Column("Benchmark"), Column("System")),
        *(Column("Place from %", Form.PERCENT), Column("to %", Form.PERCENT)),
        *(Column("Relevant %", Form.PERCENT), Column("Irrelevant %", Form.PERCENT), Column("Selectivity", Form.POINTS)),
        *(Column("95 % from", Form.POINTS), Column("to", Form.POINTS)),
    )
    note = (
        "Of the passages in that part of the context, how many of each kind reach the top quartile, and their "
        "difference in percentage points with its bootstrap interval over queries."
    )
    return Table("positions", "Selectivity by place in the context", columns, tuple(rows), note)
