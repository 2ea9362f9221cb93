"""The built-in figures of the report. Importing this package imports matplotlib, which takes a second.

A figure is a class with `name`, `title` and `make(runs)` (`report/figure.py`). The configuration `report.figures` lists
the figures of a report.
"""

from headrank.evaluation.report.figure import Figure
from headrank.evaluation.report.figures.alignment import AlignmentEffect
from headrank.evaluation.report.figures.heads import HeadCurves, HeadMaps
from headrank.evaluation.report.figures.latency import LatencyQuality
from headrank.evaluation.report.figures.orders import OrderSensitivity
from headrank.evaluation.report.figures.positions import PositionShares, PositionSpread
from headrank.evaluation.report.figures.queries import QueryChanges
from headrank.evaluation.report.figures.reliability import Reliability
from headrank.evaluation.report.figures.selectivity import RunSelectivity, SystemSelectivity
from headrank.evaluation.report.figures.training import TrainingCurves

__all__ = [
    "AlignmentEffect",
    "Figure",
    "HeadCurves",
    "HeadMaps",
    "LatencyQuality",
    "OrderSensitivity",
    "PositionShares",
    "PositionSpread",
    "QueryChanges",
    "Reliability",
    "RunSelectivity",
    "SystemSelectivity",
    "TrainingCurves",
    "default_figures",
]


def default_figures() -> list[Figure]:
    """Return all figures of this package, in the order of conf/report/default.yaml."""
    return [
        AlignmentEffect(),
        QueryChanges(),
        SystemSelectivity(),
        RunSelectivity(),
        PositionShares(),
        PositionSpread(),
        Reliability(),
        TrainingCurves(),
        HeadMaps(),
        HeadCurves(),
        OrderSensitivity(),
        LatencyQuality(),
    ]
