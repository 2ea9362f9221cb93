"""Build the dashboard in Weights & Biases (W&B): a workspace with the sections of `panels.py`.

Only saving a workspace needs an account and a network. Checked with wandb-workspaces 0.4.
"""

from collections.abc import Sequence
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from headrank.tracking.panels import Kind, Panel, Section

COLUMNS = 3  # panels per row


def make_workspace(
    sections: Sequence[Section], *, entity: str, project: str, name: str, pinned: Sequence[str]
) -> ws.Workspace:
    """Build the dashboard as a W&B workspace.

    Args:
        sections: sections of the dashboard, in order.
        entity: user or team.
        project: the W&B project.
        name: the name of the workspace.
        pinned: summary keys to show next to each run's name.

    Returns:
        The workspace, not saved yet; see `save_workspace`.
    """
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
    """Return the definition of the workspace as plain values, which `save_workspace` would send to W&B."""
    view = workspace._to_model()  # the library has no public access to the definition
    return {
        "entity": view.entity,
        "project": view.project,
        "displayName": view.display_name,
        "spec": view.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def save_workspace(workspace: ws.Workspace) -> str:
    """Save the workspace in its project and return its URL.

    Raises:
        ConnectionError: W&B refuses the workspace or cannot be reached.
    """
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
    return wr.WeavePanelSummaryTable(table_name=keys[0])  # has no title, shows the table's key
