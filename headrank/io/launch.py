"""Determine the rank of this process among those that torchrun or srun launched together.

The rank comes from environment variables, so it is known before torch is imported. Only the process of rank 0 writes to
the run folder.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Launch:
    """The launcher of this process, its rank and the number of processes."""

    launcher: str | None = None  # torchrun | srun | None: this process runs alone
    rank: int = 0
    world_size: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Launch":
        """Read the variables that torchrun and srun set.

        Any other process, such as one that a SLURM batch script starts without srun, runs alone: rank 0 of 1.
        """
        if "TORCHELASTIC_RUN_ID" in environment:
            return cls("torchrun", int(environment["RANK"]), int(environment["WORLD_SIZE"]))
        if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
            return cls("srun", int(environment["SLURM_PROCID"]), int(environment["SLURM_STEP_NUM_TASKS"]))
        return cls()
