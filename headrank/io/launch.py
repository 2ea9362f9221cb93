"""Which of the processes that torchrun or srun started together this one is; alone where neither did.

Read from the environment, before torch is imported: only the first process writes the run's folder.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    """A process among those started together."""

    by: str | None = None  # torchrun | srun, or None
    rank: int = 0
    count: int = 1

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Started":
        """From the variables that torchrun and srun set. Several tasks of a batch script without srun are none."""
        if "TORCHELASTIC_RUN_ID" in environment:
            return cls("torchrun", int(environment["RANK"]), int(environment["WORLD_SIZE"]))
        if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
            return cls("srun", int(environment["SLURM_PROCID"]), int(environment["SLURM_STEP_NUM_TASKS"]))
        return cls()
