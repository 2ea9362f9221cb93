"""Score rankings and write reports: metrics, middle zone, significance tests, tables, figures. Needs no models."""

from headrank.evaluation.measures.bootstrap import Estimate, change_estimate, mean_estimate
from headrank.evaluation.measures.metrics import Metric, mean, score_queries
from headrank.evaluation.measures.middle_zone import (
    HOMOGENIZATION,
    Homogenization,
    MiddleZone,
    homogenization,
    measure_middle_zone,
    spread_by_quarter,
)
from headrank.evaluation.measures.probability import ProbabilityQuality, ReliabilityBin, measure_probabilities
from headrank.evaluation.measures.results import BenchmarkResult, SystemResult, measured_zones
from headrank.evaluation.measures.score import SystemRun, score_benchmark
from headrank.evaluation.measures.selectivity import Selectivity, ZoneCounts, selectivity, selectivity_change
from headrank.evaluation.measures.significance import Comparison, compare, holm
from headrank.evaluation.measures.suite import SuiteComparison, compare_systems, pooled_selectivity
from headrank.evaluation.report.figure import Drawing
from headrank.evaluation.report.report import write_report
from headrank.evaluation.report.settings import ReportSettings
from headrank.evaluation.report.table import Column, Layout, Table
from headrank.evaluation.report.tables import (
    baseline_table,
    changes_table,
    main_table,
    metrics_table,
    middle_zone_table,
    positions_table,
    probabilities_table,
    suite_table,
)
from headrank.evaluation.run_folder import RunResults, read_results

__all__ = [
    "HOMOGENIZATION",
    "BenchmarkResult",
    "Column",
    "Comparison",
    "Drawing",
    "Estimate",
    "Homogenization",
    "Layout",
    "Metric",
    "MiddleZone",
    "ProbabilityQuality",
    "ReliabilityBin",
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
    "measure_probabilities",
    "measured_zones",
    "metrics_table",
    "middle_zone_table",
    "pooled_selectivity",
    "positions_table",
    "probabilities_table",
    "read_results",
    "score_benchmark",
    "score_queries",
    "selectivity",
    "selectivity_change",
    "spread_by_quarter",
    "suite_table",
    "write_report",
]
