"""Declare the columns of the report's tables: keys, headings, formats and order. `tables.py` fills in values."""

from headrank.evaluation.report.formatting import Form
from headrank.evaluation.report.table import Column, Layout, Shape

CHANGES = Layout(
    "changes",
    "{reference} → reranked",
    (
        Column("System", key="system"),
        Column("Benchmark", key="benchmark"),
        Column("Queries", Form.COUNT, key="queries"),
        Column("{metric}", Form.METRIC, key="metric", shape=Shape.PAIR),
        Column("Change", Form.CHANGE, key="change", signed=True),
        Column("{judged}", Form.METRIC, key="judged", shape=Shape.PAIR, optional=True),
        Column("p", Form.P, key="p"),
        Column("p (Holm)", Form.P, key="p_holm"),
        Column("Won", Form.COUNT, key="won"),
        Column("Tied", Form.COUNT, key="tied"),
        Column("Lost", Form.COUNT, key="lost"),
    ),
)
"""A row per system and benchmark, and one per system for the mean over benchmarks. Pairs are before and after."""

BASELINE = Layout("baseline", "{reference} → {main}", CHANGES.columns[1:])
"""The same columns for the main system against a named baseline."""

SUITE = Layout(
    "suite",
    "Over the suite",
    (
        Column("System", key="system"),
        Column("Against", key="against"),
        Column("Benchmarks", Form.COUNT, key="benchmarks"),
        Column("Mean {metric}", Form.METRIC, key="metric", shape=Shape.PAIR),
        Column("Change", Form.CHANGE, key="change", signed=True),
        Column("Benchmarks w/t/l", Form.COUNT, key="won", shape=Shape.TALLY),
        Column("Significantly w/t/l", Form.COUNT, key="significant", shape=Shape.TALLY),
        Column("Queries w/t/l", Form.COUNT, key="queries", shape=Shape.TALLY),
    ),
)
"""A row per comparison of two systems over all benchmarks."""

MIDDLE_ZONE = Layout(
    "middle_zone",
    "Middle zone",
    (
        Column("Benchmark", key="benchmark"),
        Column("System", key="system"),
        Column("Relevant %", Form.PERCENT, key="relevant"),
        Column("Irrelevant %", Form.PERCENT, key="irrelevant"),
        Column("Selectivity", Form.POINTS, key="selectivity", shape=Shape.INTERVAL, signed=True),
        Column("Std z", Form.NUMBER, key="deviation", shape=Shape.INTERVAL),
        Column("Entropy", Form.METRIC, key="entropy", shape=Shape.INTERVAL),
        Column("Alike %", Form.PERCENT, key="nearly_equal", shape=Shape.INTERVAL),
    ),
)

PROBABILITIES = Layout(
    "probabilities",
    "Probabilities of relevance",
    (
        Column("Benchmark", key="benchmark"),
        Column("System", key="system"),
        Column("Passages", Form.COUNT, key="passages"),
        Column("Relevant %", Form.PERCENT, key="relevant"),
        Column("Mean probability %", Form.PERCENT, key="predicted"),
        Column("Brier", Form.METRIC, key="brier"),
        Column("Brier of the share", Form.METRIC, key="constant"),
        Column("ECE", Form.METRIC, key="error"),
    ),
)

TRAINING = Layout(
    "training",
    "Training, epoch by epoch",
    (
        Column("Epoch", Form.COUNT, key="epoch"),
        Column("Loss", Form.NUMBER, key="train/loss", optional=True),
        Column("Held-out nDCG@10", Form.METRIC, best=True, key="val/ndcg@10", optional=True),
        Column("Held-out selectivity", Form.POINTS, key="val/selectivity", optional=True),
        Column("Heads kept %", Form.PERCENT, key="heads/overlap", optional=True),
        Column("Depth", Form.COUNT, key="heads/depth", optional=True),
    ),
)
"""The known columns of the epoch log. Parts of the loss follow the loss; other values come last."""
NOT_SHOWN = ("heads/depth_change",)  # value of the epoch log that `heads/depth` already shows
