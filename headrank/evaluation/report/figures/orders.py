"""Draw order sensitivity: the metric of one system on the same lists in different context orders, one run each."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure as Canvas

from headrank.evaluation.measures.metrics import Metric
from headrank.evaluation.measures.suite import metric_estimate
from headrank.evaluation.report.figure import Drawing
from headrank.evaluation.report.figures.canvas import BLUE, reference_line, svg
from headrank.evaluation.report.formatting import Form, format_value, one_line
from headrank.evaluation.run_folder import RunResults

IGNORED_KEYS = ("name", "paths", "report", "debug")  # keys of the configuration that may differ as well


class OrderSensitivity:
    """Figure: the main system's metric per context order, from runs that differ only in the order."""

    name = "orders"
    title = "Order sensitivity"

    def make(self, runs: Sequence[RunResults]) -> Drawing | None:
        """Draw the figure. Return None if no other run reads the same lists in another order."""
        first = runs[0]
        alike = [run for run in runs if same_but_order(run, first)]
        found = [(order_of(run), metric_estimate(run.benchmarks, run.main, first.metric)) for run in alike]
        points = [(label, estimate) for label, estimate in found if estimate is not None]
        if len({label for label, _ in points}) < 2:
            return None
        points.sort(key=lambda point: point[0])
        reference = metric_estimate(first.benchmarks, first.reference, first.metric)
        label = Metric.parse(first.metric).label

        def draw(canvas: Canvas) -> None:
            ax = canvas.subplots()
            for x, (_, estimate) in enumerate(points):
                if estimate.interval is not None:
                    ax.plot([x, x], estimate.interval, color=BLUE, linewidth=2.2)
                ax.plot(x, estimate.value, "o", color=BLUE, markersize=7)
                ax.annotate(
                    format_value(estimate.value, Form.METRIC), (x, estimate.value), (9, 0), textcoords="offset points",
                    va="center",
                )  # fmt: skip
            if reference is not None:
                reference_line(ax, reference.value, first.reference)
            ax.set_xticks(range(len(points)), [label for label, _ in points])
            ax.set_xlim(-0.6, len(points) - 0.4)
            ax.set_ylabel(label)

        values = [estimate.value for _, estimate in points]
        return Drawing(
            svg(draw, 8.4, 3.2),
            f"{label} of {one_line(first.main)} on the same lists in different context orders, with 95 % bootstrap "
            "intervals over queries. The best and the worst order differ by "
            f"{format_value(max(values) - min(values), Form.METRIC)}.",
        )


def order_of(run: RunResults) -> str:
    """Return the name of the main system's context order, with the seed of a shuffled order. Empty if it is unknown."""
    scorer = (run.heads or {}).get("scorer") or {}
    order = scorer.get("order", "")
    order = str(order["_target_"].rpartition(".")[2] if isinstance(order, dict) else order).replace("_", " ")
    return f"{order} {scorer.get('seed', 0)}" if order == "shuffled" else order


def same_but_order(run: RunResults, other: RunResults) -> bool:
    """Return whether two runs have the same queries, metric, model and configuration, except for the context order."""
    same_lists = [(b.name, b.query_ids) for b in run.benchmarks] == [(b.name, b.query_ids) for b in other.benchmarks]
    return same_lists and run.metric == other.metric and _rest(run) == _rest(other) != ""


def _rest(run: RunResults) -> str:
    heads = run.heads
    if not heads:
        return ""
    scorer = {k: v for k, v in (heads.get("scorer") or {}).items() if k not in ("order", "seed", "batch_size")}
    config: dict[str, Any] = {k: v for k, v in run.config.items() if k not in IGNORED_KEYS}
    if isinstance(config.get("scorer"), Mapping):
        config["scorer"] = scorer
    return json.dumps([heads.get("model"), scorer, config], sort_keys=True, default=str)
