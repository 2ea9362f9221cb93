"""The dashboard in Weights & Biases: a workspace made of the sections of `panels.py`. Checked on wandb-workspaces 0.4.

Building one and writing it as JSON needs neither account nor network; saving does.
"""

from collections.abc import Sequence
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from headrank.tracking.panels import Kind, Panel, Section

COLUMNS = 3  # panels beside one another


def make_workspace(
    sections: Sequence[Section], *, entity: str, project: str, name: str, pinned: Sequence[str]
) -> ws.Workspace:
    """The workspace; `save()` puts it into the project. pinned: keys of the summary to stand beside each run's name."""
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            ws.Section(
                name=section.name,
                panels=[_panel(panel) for panel in section.panels],
                is_open=True,
                layout_settings=ws.SectionLayoutSettings(columns=COLUMNS, rows=-(-len(section.panels) // COLUMNS)),
            )
            for section in sections
        ],
        runset_settings=ws.RunsetSettings(pinned_columns=["run:displayName", *(f"summary:{key}" for key in pinned)]),
    )


def workspace_json(workspace: ws.Workspace) -> dict[str, Any]:
    """What `save()` would send, in plain values."""
    view = workspace._to_model()  # the library has no public way to the definition
    return {
        "entity": view.entity,
        "project": view.project,
        "displayName": view.display_name,
        "spec": view.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def save_workspace(workspace: ws.Workspace) -> str:
    """Put it into its project; returns its address. Raises `ConnectionError` where W&B does not take it."""
    try:
        return workspace.save().url
    except wandb.Error as error:
        raise ConnectionError(f"the dashboard could not be saved in W&B: {error}") from error


def _panel(panel: Panel) -> Any:
    keys: list[Any] = list(panel.keys)
    if panel.kind is Kind.BARS:
        return wr.BarPlot(title=panel.title, metrics=keys)
    if panel.kind is Kind.LINES:
        return wr.LinePlot(title=panel.title, x=panel.x, y=keys)
    if panel.kind is Kind.SCATTER:
        x, y = wr.SummaryMetric(str(panel.x)), wr.SummaryMetric(keys[0])
        return wr.ScatterPlot(title=panel.title, x=x, y=y, log_x=True)
    if panel.kind is Kind.PAGES:
        return wr.MediaBrowser(title=panel.title, media_keys=keys, num_columns=1)
    return wr.WeavePanelSummaryTable(table_name=keys[0])  # has no title: it shows the table's key
