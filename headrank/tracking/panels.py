"""Describe the dashboard as plain data: sections of panels, and the keys that each panel shows. Independent of W&B.

A key names a logged value (`names.py`). The experiment determines the keys, so the dashboard command takes the same
overrides as a run.
"""

from dataclasses import dataclass
from enum import StrEnum

from headrank.evaluation import HOMOGENIZATION
from headrank.experiment import FIRST_STAGE_SYSTEM, MAIN_SYSTEM, UNALIGNED_SYSTEM, Experiment
from headrank.tracking.names import (
    EPOCH,
    POSITION,
    REPORT,
    figure_key,
    homogenization_key,
    key,
    mean_key,
    metric_key,
    position_key,
    selectivity_key,
    table_key,
    value_key,
)


class Kind(StrEnum):
    """How a panel shows the values of its keys."""

    BARS = "bars"  # last value of each key, one bar per run
    LINES = "lines"  # over `x`
    SCATTER = "scatter"  # one key over `x` on a log scale, one point per run
    PAGES = "pages"  # logged pages: figures, the report
    TABLE = "table"  # a logged table


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of the dashboard: its kind, its title and the keys of the values it shows.

    `x` is the key of the horizontal axis of lines and scatter plots; None for other kinds.
    """

    kind: Kind
    title: str
    keys: tuple[str, ...]
    x: str | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Panels under a heading."""

    name: str
    panels: tuple[Panel, ...]


def systems_of(experiment: Experiment) -> list[str]:
    """Return the names of the systems of a run.

    The order is: first stage, main system, main system before alignment (if a model is aligned), and the other systems.
    """
    main = [MAIN_SYSTEM] + ([UNALIGNED_SYSTEM] if experiment.alignment is not None else [])
    return [FIRST_STAGE_SYSTEM, *main, *(name for name in experiment.systems if name != MAIN_SYSTEM)]


def dashboard_sections(experiment: Experiment) -> tuple[Section, ...]:
    """Return the sections of the dashboard, in order.

    The section on alignment exists only if the experiment has an alignment.
    """
    sections = [
        Section("Middle zone", _middle_zone(experiment)),
        Section("Ranking", _ranking(experiment)),
        Section("Homogenization", _homogenization(experiment)),
        Section("Scale", _scale(experiment)),
        Section("Alignment", _alignment(experiment)),
        Section("Report", _report(experiment)),
    ]
    return tuple(section for section in sections if section.panels)


def pinned_keys(experiment: Experiment) -> list[str]:
    """Return the keys of the values that the dashboard shows next to each run's name."""
    main = [mean_key(MAIN_SYSTEM, experiment.objective), selectivity_key(None, MAIN_SYSTEM, "difference")]
    return [key("status", "state"), *main, key("model", "parameters")]


def _middle_zone(e: Experiment) -> tuple[Panel, ...]:
    systems, names = systems_of(e), [benchmark.name for benchmark in e.benchmarks]
    pooled = tuple(selectivity_key(None, system, "difference") for system in systems)
    panels = [Panel(Kind.BARS, "Selectivity, all benchmarks", pooled)]
    for name in names:
        by_system = tuple(selectivity_key(name, system, "difference") for system in systems)
        panels.append(Panel(Kind.BARS, f"Selectivity, {name}", by_system))
        by_position = tuple(position_key(name, system, "difference") for system in systems)
        panels.append(Panel(Kind.LINES, f"Selectivity by position in the context (%), {name}", by_position, POSITION))
    panels.append(Panel(Kind.TABLE, "Selectivity with intervals", (table_key("middle_zone"),)))
    panels.append(Panel(Kind.TABLE, "By position, with intervals", (table_key("positions"),)))
    return tuple(panels)


def _ranking(e: Experiment) -> tuple[Panel, ...]:
    systems, metric = systems_of(e), e.objective
    means = Panel(Kind.BARS, f"{metric}, mean over benchmarks", tuple(mean_key(system, metric) for system in systems))
    each = [
        Panel(Kind.BARS, f"{metric}, {b.name}", tuple(metric_key(b.name, system, metric) for system in systems))
        for b in e.benchmarks
    ]
    changes = Panel(Kind.TABLE, "Against the first stage, with p values", (table_key("changes"),))
    return (means, *each, changes)


def _homogenization(e: Experiment) -> tuple[Panel, ...]:
    titles = dict(zip(HOMOGENIZATION, ("Deviation of z", "Entropy", "Nearly equal neighbours"), strict=True))
    # Each system has its own unit of z, so deviations compare only before and after alignment.
    comparable = {"deviation": [name for name in systems_of(e) if name in (MAIN_SYSTEM, UNALIGNED_SYSTEM)]}
    return tuple(
        Panel(
            Kind.BARS,
            f"{title}, {benchmark.name}",
            tuple(homogenization_key(benchmark.name, name, part) for name in comparable.get(part, systems_of(e))),
        )
        for benchmark in e.benchmarks
        for part, title in titles.items()
    )


def _scale(e: Experiment) -> tuple[Panel, ...]:
    size = key("model", "parameters")
    systems = [name for name in systems_of(e) if name in (MAIN_SYSTEM, UNALIGNED_SYSTEM)]
    panels = []
    for system in systems:
        selected = selectivity_key(None, system, "difference")
        panels.append(Panel(Kind.SCATTER, f"Selectivity of {system} by parameters", (selected,), size))
        ranked = mean_key(system, e.objective)
        panels.append(Panel(Kind.SCATTER, f"{e.objective} of {system} by parameters", (ranked,), size))
    depth = key("model", "layers_in_use")
    return (*panels, Panel(Kind.SCATTER, "Layers in use by parameters", (depth,), size))


def _alignment(e: Experiment) -> tuple[Panel, ...]:
    a = e.alignment
    if a is None:
        return ()
    losses = [value_key(f"train/{name}") for name in ("loss", *a.losses.terms)]
    panels = [Panel(Kind.LINES, "Training losses", tuple(losses), EPOCH)]
    if a.validation_queries:
        for name, title in (("val/ndcg@10", "nDCG@10"), ("val/selectivity", "Selectivity")):
            panels.append(Panel(Kind.LINES, f"{title} on held-out queries", (value_key(name),), EPOCH))
    if a.reselects:
        panels.append(Panel(Kind.LINES, "Share of heads kept", (value_key("heads/overlap"),), EPOCH))
        panels.append(Panel(Kind.LINES, "Layers in use", (value_key("heads/depth"),), EPOCH))
    return tuple(panels)


def _report(e: Experiment) -> tuple[Panel, ...]:
    figures = ["queries", "selectivity", "positions"] + (["training"] if e.alignment is not None else [])
    return (
        Panel(Kind.TABLE, f"{e.objective}, systems and benchmarks", (table_key("main"),)),
        Panel(Kind.PAGES, "Figures", tuple(figure_key(name) for name in figures)),
        Panel(Kind.PAGES, "The run's report", (REPORT,)),
    )
