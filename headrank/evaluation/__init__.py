"""Evaluation: metrics, middle zone, significance, tables, figures, report. Knows rankings and judgements, no models."""

from headrank.evaluation.bootstrap import Estimate, change_estimate, mean_estimate
from headrank.evaluation.homogenization import Homogenization, homogenization, spread_by_place
from headrank.evaluation.illustration import Drawing
from headrank.evaluation.metrics import Metric, mean, score_queries
from headrank.evaluation.middle_zone import MiddleZone, measure_middle_zone
from headrank.evaluation.positions import positions_table
from headrank.evaluation.report import write_report
from headrank.evaluation.results import BenchmarkResult, SystemResult
from headrank.evaluation.run_results import RunResults, read_results
from headrank.evaluation.score import SystemRun, score_benchmark
from headrank.evaluation.selectivity import Selectivity, ZoneCounts, selectivity, selectivity_change
from headrank.evaluation.settings import ReportSettings
from headrank.evaluation.significance import Comparison, compare, holm
from headrank.evaluation.suite import SuiteComparison, compare_systems
from headrank.evaluation.table import Column, Layout, Table
from headrank.evaluation.tables import (
    baseline_table,
    changes_table,
    main_table,
    metrics_table,
    middle_zone_table,
    pooled_selectivity,
    suite_table,
)

__all__ = [
    "BenchmarkResult",
    "Column",
    "Comparison",
    "Drawing",
    "Estimate",
    "Homogenization",
    "Layout",
    "Metric",
    "MiddleZone",
    "ReportSettings",
    "RunResults",
    "Selectivity",
    "SuiteComparison",
    "SystemResult",
    "SystemRun",
    "Table",
    "ZoneCounts",
    "baseline_table",
    "change_estimate",
    "changes_table",
    "compare",
    "compare_systems",
    "holm",
    "homogenization",
    "main_table",
    "mean",
    "mean_estimate",
    "measure_middle_zone",
    "metrics_table",
    "middle_zone_table",
    "pooled_selectivity",
    "positions_table",
    "read_results",
    "score_benchmark",
    "score_queries",
    "selectivity",
    "selectivity_change",
    "spread_by_place",
    "suite_table",
    "write_report",
]
