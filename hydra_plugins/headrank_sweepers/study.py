"""A sweeper that runs all combinations of swept values: one grid, or several grids in a row.

python -m headrank.run -m +experiment=nano scorer=none,residual seed=0,1
python -m headrank.run +sweep=selection +experiment=nano             (axes: one grid per axis)
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.errors import HydraException

from headrank.extras import check_extras
from hydra_plugins.headrank_sweepers.jobs import Job, JobSweeper, check_failures, print_line


class StudySweeper(JobSweeper):
    """Runs a job for each combination of the swept keys' values (a grid). With `axes` each axis is a separate grid.

    params: key -> values, written as on the command line. Values on the command line override them.
    axes: for each axis, its overrides separated by spaces. Setting a key of an axis on the command line raises
        `HydraException`.
    deleted: keys to delete from each job's configuration, as `~key` does.

    A job with the same configuration as an earlier one is not run; its `status.json` names the earlier job.
    """

    def __init__(
        self, params: Mapping[str, str] | None = None, axes: Sequence[str] = (), deleted: Sequence[str] = ()
    ) -> None:
        self.params, self.axes, self.deleted = dict(params or {}), list(axes), list(deleted)

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Run all jobs and return their values. Raises `JobsFailed` after the last job if some failed."""
        jobs = self.jobs(arguments)
        self.check_folders(jobs)
        for job in jobs:
            check_extras(job.config)
        jobs = self._distinct(jobs)
        print_line(f"sweep: {len(jobs)} jobs in {os.path.commonpath([job.folder.parent for job in jobs])}")
        results = self.launch(jobs, 0)
        check_failures(jobs, results)
        return results

    def jobs(self, arguments: Sequence[str]) -> list[Job]:
        """Compose all jobs, including equal ones, so that an unknown key is an error before any job runs."""
        fixed = self.arranged(arguments, self.params)
        keys = {override.key_or_group for override in fixed}
        always = {key.lstrip("+") for key in self.params}
        always |= {override.key_or_group for override in fixed if override.is_sweep_override()}
        jobs: list[Job] = []
        for axis in self.axes or [""]:
            varied = self.parse(shlex.split(axis))
            both = sorted(keys & {override.key_or_group for override in varied})
            if both:
                raise HydraException(f"{', '.join(both)} is varied by this sweep: remove it from the command line")
            (product,) = BasicSweeper.split_arguments([*fixed, *varied], max_batch_size=None)
            swept = always | {override.key_or_group for override in varied}
            jobs += [self.job(overrides, swept) for overrides in product]
        return jobs

    def _distinct(self, jobs: Sequence[Job]) -> list[Job]:
        kept: dict[str, Job] = {}
        for job in jobs:
            earlier = kept.setdefault(job.content, job)
            if earlier.folder != job.folder:
                _note_same(job, earlier)
                print_line(f"sweep: {job.folder.name} is the same as {earlier.folder.name}")
        return list(kept.values())


def _note_same(job: Job, earlier: Job) -> None:
    from headrank.errors import InUseError
    from headrank.io.artifacts import RunFolder

    folder = RunFolder(job.folder)
    with suppress(InUseError), folder.lock():  # keep the status of a run in progress
        folder.set_status("same", "none", same_as=earlier.folder.name)
