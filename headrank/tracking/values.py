"""Convert results to logged values: numbers by key (`names.py`), rows by position in the context, and tables.

Independent of W&B.
"""

from collections.abc import Mapping, Sequence

from headrank.evaluation import (
    HOMOGENIZATION,
    BenchmarkResult,
    Selectivity,
    Table,
    changes_table,
    main_table,
    mean,
    measured_zones,
    metrics_table,
    middle_zone_table,
    pooled_selectivity,
    positions_table,
)
from headrank.tracking.names import (
    EPOCH,
    POSITION,
    SELECTIVITY,
    homogenization_key,
    mean_key,
    metric_key,
    position_key,
    selectivity_key,
    table_key,
    value_key,
)


def result_values(results: Sequence[BenchmarkResult], numbers: Mapping[str, float | int]) -> dict[str, float | int]:
    """Collect all numbers of the results by key, at full precision.

    Args:
        results: one per benchmark.
        numbers: further numbers by name, such as `model/parameters`.

    Returns:
        Key -> value, for example `mean/headrank/ndcg_10` -> 0.52. Values that were not measured are absent.
    """
    values: dict[str, float | int | None] = {value_key(name): value for name, value in numbers.items()}
    for result in results:
        for name, system in result.systems.items():
            values |= {metric_key(result.name, name, metric): value for metric, value in system.means.items()}
            values |= _selectivity(result.name, name, system.selectivity)
            if system.middle_zone is not None:
                zone = system.middle_zone.homogenization
                values |= {homogenization_key(result.name, name, part): getattr(zone, part) for part in HOMOGENIZATION}
    for name in results[0].systems:
        if all(name in result.systems for result in results):
            for metric in results[0].metrics:
                values[mean_key(name, metric)] = mean([result.systems[name].means[metric] for result in results])
    for name, pooled in pooled_selectivity(results).items():
        values |= _selectivity(None, name, pooled)
    return {key: value for key, value in values.items() if value is not None}


def position_rows(results: Sequence[BenchmarkResult]) -> list[dict[str, float | int]]:
    """Collect selectivity by position in the context.

    Returns:
        One row per eighth of the context, from first to last: its centre `position`, in percent of the list, and the
        selectivity values of each benchmark and system by key (`position_key`). Empty if nothing was measured.
    """
    rows: dict[int, dict[str, float | int]] = {}
    for benchmark, system, zone in measured_zones(results):
        for i, measured in enumerate(zone.by_position):
            row = rows.setdefault(i, {POSITION: 100 * (i + 0.5) / len(zone.positions)})
            values = {position_key(benchmark, system, part): v for part, v in _selectivity_parts(measured).items()}
            row |= {key: value for key, value in values.items() if value is not None}
    return [rows[i] for i in sorted(rows)]


def result_tables(results: Sequence[BenchmarkResult], metric: str) -> dict[str, Table]:
    """Make the tables that are logged: five kinds, some over all benchmarks and some per benchmark.

    Over all benchmarks: `main` (the metric), `changes` (against the first stage), `positions` (selectivity by position)
    and `middle_zone`. Per benchmark: `metrics` and `middle_zone`.

    Args:
        results: one per benchmark.
        metric: the metric of `main` and `changes`, such as `ndcg@10`.

    Returns:
        Key (see `table_key`) -> table, for example `tables/main`. Tables without content are absent.
    """
    tables = {
        table_key("main"): main_table(results, metric),
        table_key("changes"): changes_table(results, metric),
        table_key("positions"): positions_table(results),
        table_key("middle_zone"): middle_zone_table(results),
    }
    for result in results:
        tables[table_key("metrics", result.name)] = metrics_table([result])
        tables[table_key("middle_zone", result.name)] = middle_zone_table([result])
    return {key: table for key, table in tables.items() if table is not None}


def epoch_values(row: Mapping[str, float | int]) -> dict[str, float | int]:
    """Convert the names of a row of the epoch log to keys; the values are unchanged."""
    return {EPOCH if name == EPOCH else value_key(name): value for name, value in row.items()}


def _selectivity(benchmark: str | None, system: str, measured: Selectivity | None) -> dict[str, float | int | None]:
    if measured is None:
        return {}
    return {selectivity_key(benchmark, system, part): v for part, v in _selectivity_parts(measured).items()}


def _selectivity_parts(measured: Selectivity) -> dict[str, float | None]:
    low, high = measured.interval or (None, None)
    values = (measured.difference, low, high, measured.relevant, measured.irrelevant)
    return dict(zip(SELECTIVITY, values, strict=True))
