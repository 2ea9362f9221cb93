"""The report's figures. Importing this imports matplotlib, which takes a second.

A figure is a class with a `name`, a `title` and `make(runs)` (figure.py); which ones a report has is a list in the
configuration, `report.figures`.
"""

from headrank.evaluation.report.figure import Figure
from headrank.evaluation.report.figures.alignment import AlignmentEffect
from headrank.evaluation.report.figures.heads import HeadCurves, HeadMaps
from headrank.evaluation.report.figures.latency import LatencyQuality
from headrank.evaluation.report.figures.orders import OrderSensitivity
from headrank.evaluation.report.figures.positions import PositionShares, PositionSpread
from headrank.evaluation.report.figures.queries import QueryChanges
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
    "RunSelectivity",
    "SystemSelectivity",
    "TrainingCurves",
    "default_figures",
]


def default_figures() -> list[Figure]:
    """All of them, in the report's order; the same as conf/report/default.yaml."""
    return [
        AlignmentEffect(),
        QueryChanges(),
        SystemSelectivity(),
        RunSelectivity(),
        PositionShares(),
        PositionSpread(),
        TrainingCurves(),
        HeadMaps(),
        HeadCurves(),
        OrderSensitivity(),
        LatencyQuality(),
    ]
