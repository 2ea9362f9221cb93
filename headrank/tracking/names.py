"""Make the keys under which values are logged. Runs log with them, and the dashboard's panels show them.

W&B sorts and filters only by keys of letters, digits and underscores, with `/` between the parts. So `val/ndcg@10`
becomes `val/ndcg_10`, and the system `first stage` becomes `first_stage`.
"""

import re
from collections.abc import Iterable

EPOCH = "epoch"
POSITION = "position"  # center of a part of the context, in percent of the list
REPORT = "report"
SELECTIVITY = ("difference", "low", "high", "relevant", "irrelevant")  # shares in [0, 1], differences in [-1, 1]


def key(*parts: str) -> str:
    """Join parts to a key, such as `metrics/dl20/headrank/ndcg_10`.

    Each character that a key cannot contain becomes an underscore.
    """
    return "/".join(re.sub(r"[^A-Za-z0-9_]", "_", part) for part in parts)


def value_key(name: str) -> str:
    """Return the key of a logged value whose name contains slashes, such as `train/loss`."""
    return key(*name.split("/"))


def metric_key(benchmark: str, system: str, metric: str) -> str:
    """Return the key of a metric's mean over the queries of a benchmark, such as `metrics/dl20/headrank/ndcg_10`."""
    return key("metrics", benchmark, system, metric)


def mean_key(system: str, metric: str) -> str:
    """Return the key of a metric's mean over benchmarks, such as `mean/headrank/ndcg_10`."""
    return key("mean", system, metric)


def selectivity_key(benchmark: str | None, system: str, part: str) -> str:
    """Return the key of a selectivity value of the middle zone, such as `selectivity/dl20/headrank/difference`.

    Args:
        benchmark: the benchmark; None: all benchmarks, with their candidate lists pooled.
        system: the system.
        part: an entry of `SELECTIVITY`: the difference, an end of its interval, or one of the two shares.
    """
    return key("pooled_selectivity", system, part) if benchmark is None else key("selectivity", benchmark, system, part)


def homogenization_key(benchmark: str, system: str, part: str) -> str:
    """Return the key of a homogenization value of the middle zone, such as `homogenization/dl20/headrank/entropy`.

    Args:
        benchmark: the benchmark.
        system: the system.
        part: one of `headrank.evaluation.HOMOGENIZATION`.
    """
    return key("homogenization", benchmark, system, part)


def position_key(benchmark: str, system: str, part: str) -> str:
    """Return the key of a selectivity value by position in the context, such as `positions/dl20/headrank/difference`.

    Args:
        benchmark: the benchmark.
        system: the system.
        part: an entry of `SELECTIVITY`.
    """
    return key("positions", benchmark, system, part)


def table_key(name: str, benchmark: str | None = None) -> str:
    """Return the key of a logged table, such as `tables/main` or, for one benchmark, `tables/dl20/metrics`.

    Args:
        name: the name of the table, see `headrank.tracking.values.result_tables`.
        benchmark: the benchmark; None: all benchmarks.
    """
    return key("tables", name) if benchmark is None else key("tables", benchmark, name)


def figure_key(name: str) -> str:
    """Return the key of a figure of the report, such as `figures/positions`."""
    return key("figures", name)


def check_names(kind: str, names: Iterable[str]) -> None:
    """Raise `ValueError` if two different names have the same `key`.

    Args:
        kind: what the message calls the names, such as `systems`.
        names: the names; equal names are allowed.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(key(name), name)
        if other != name:
            raise ValueError(f"{kind} {other!r} and {name!r} have the same key {key(name)!r} in tracking: rename one")
