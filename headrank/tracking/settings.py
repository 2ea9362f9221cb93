"""How a run is tracked, and the tracker that these settings ask for."""

import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import StringConstraints

from headrank.extras import require_extra
from headrank.settings import Gt, Listed, one_of, settings, wrong
from headrank.tracking.base import NoTracker, Tracker

MODES = ("online", "offline", "disabled")


@settings
class WandbSettings:
    """Where in Weights & Biases a run goes."""

    project: str = "headrank"
    entity: str | None = None  # user or team; None: the account's default
    group: str | None = None  # None: a sweep's jobs share the name of its folder, a single run has no group
    tags: Listed[Annotated[str, StringConstraints(min_length=1, max_length=64)]] = ()  # W&B refuses others
    # online | offline (kept in the run folder, for `wandb sync`) | disabled (nothing is written)
    mode: Annotated[str, one_of(MODES)] = "online"
    log_model: bool = False  # upload the aligned checkpoint, too; heads always are
    max_model_gb: Annotated[float, Gt(0)] = 5.0  # a larger checkpoint stays where it is, and a warning says so

    def __post_init__(self) -> None:
        if not 0 < len(self.project) <= 128 or set(self.project) & set("/\\#?%:"):  # W&B's own rule
            raise wrong("project", self.project, "1 to 128 characters without / \\ # ? % :")


def make_tracker(settings: WandbSettings | None, config: Mapping[str, Any], *, name: str, group: str | None) -> Tracker:
    """The tracker of one run.

    settings: None for none. config: the composed configuration in plain values. name: of the run. group: of the sweep
    that the run is a job of, where the settings name none.

    Under distributed training every process runs the pipeline; only the first of them is tracked. Raises
    `MissingExtraError` if W&B is not installed; nothing has been computed by then.
    """
    if settings is None or settings.mode == "disabled" or process_rank() != 0:
        return NoTracker()
    require_extra("wandb", "tracking=wandb", "wandb")
    from headrank.tracking.wandb_run import WandbTracker

    return WandbTracker(settings, config, name=name, group=settings.group or group)


def process_rank() -> int:
    """This process's rank, as torchrun, Lightning or SLURM says in the environment; 0 where nobody does."""
    for variable in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if os.environ.get(variable, "").isdigit():
            return int(os.environ[variable])
    return 0
