"""Evaluation: metrics, middle zone, significance, tables, figures, report. Knows rankings and judgements, no models."""

from headrank.evaluation.metrics import Metric, mean, score_queries
from headrank.evaluation.middle_zone import Homogenization, MiddleZone, homogenization, measure_middle_zone
from headrank.evaluation.positions import positions_table
from headrank.evaluation.report import write_report
from headrank.evaluation.results import BenchmarkResult, SystemResult
from headrank.evaluation.score import SystemRun, score_benchmark
from headrank.evaluation.selectivity import Selectivity, ZoneCounts, selectivity
from headrank.evaluation.significance import Comparison, compare, holm
from headrank.evaluation.table import Table
from headrank.evaluation.tables import changes_table, main_table, metrics_table, middle_zone_table, pooled_selectivity

__all__ = [
    "BenchmarkResult",
    "Comparison",
    "Homogenization",
    "Metric",
    "MiddleZone",
    "Selectivity",
    "SystemResult",
    "SystemRun",
    "Table",
    "ZoneCounts",
    "changes_table",
    "compare",
    "holm",
    "homogenization",
    "main_table",
    "mean",
    "measure_middle_zone",
    "metrics_table",
    "middle_zone_table",
    "pooled_selectivity",
    "positions_table",
    "score_benchmark",
    "score_queries",
    "selectivity",
    "write_report",
]
