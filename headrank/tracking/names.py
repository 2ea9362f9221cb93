"""The keys under which values are tracked: the one place that makes them, for runs and for the dashboard.

W&B sorts and filters by a key only where it is made of letters, digits and underscores, with `/` between its parts; so
`val/ndcg@10` is `val/ndcg_10` there, and the system `first stage` `first_stage`.
"""

import re
from collections.abc import Iterable

EPOCH = "epoch"
PLACE = "place"  # the middle of a part of the context, in percent of the list
REPORT = "report"
SELECTIVITY = ("difference", "low", "high", "relevant", "irrelevant")  # shares in [0, 1], differences in [-1, 1]
HOMOGENIZATION = ("deviation", "entropy", "nearly_equal")


def key(*parts: str) -> str:
    """Parts as a key; what no key may hold becomes an underscore."""
    return "/".join(re.sub(r"[^A-Za-z0-9_]", "_", part) for part in parts)


def logged(name: str) -> str:
    """The key of a name that has its own slashes, such as `train/loss`."""
    return key(*name.split("/"))


def metric_key(benchmark: str, system: str, metric: str) -> str:
    """Of a metric's mean over a benchmark's queries."""
    return key("metrics", benchmark, system, metric)


def mean_key(system: str, metric: str) -> str:
    """Of a metric's mean over benchmarks."""
    return key("mean", system, metric)


def selectivity_key(benchmark: str | None, system: str, part: str) -> str:
    """Of one of `SELECTIVITY` in the middle zone; benchmark None: pooled over all of them."""
    return key("pooled_selectivity", system, part) if benchmark is None else key("selectivity", benchmark, system, part)


def homogenization_key(benchmark: str, system: str, part: str) -> str:
    """Of one of `HOMOGENIZATION`."""
    return key("homogenization", benchmark, system, part)


def place_key(benchmark: str, system: str, part: str) -> str:
    """Of one of `SELECTIVITY` by place in the context."""
    return key("places", benchmark, system, part)


def table_key(name: str, benchmark: str | None = None) -> str:
    """Of a table of the report, whole or of one benchmark."""
    return key("tables", name) if benchmark is None else key("tables", benchmark, name)


def figure_key(name: str) -> str:
    """Of a figure of the report."""
    return key("figures", name)


def check_names(kind: str, names: Iterable[str]) -> None:
    """Raise `ValueError` where two names would share a key."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(key(name), name)
        if other != name:
            raise ValueError(f"{kind} {other!r} and {name!r} have the same key {key(name)!r} in tracking: rename one")
