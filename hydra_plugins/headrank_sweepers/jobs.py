"""The base class of this project's sweepers. It orders overrides, launches jobs and reports failed jobs."""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import CompactHydraException, HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.headrank_sweepers.arguments import plain
from hydra_plugins.headrank_sweepers.job_names import job_name


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a sweep: its overrides, its configuration without the section `hydra`, and its folder."""

    overrides: tuple[str, ...]
    config: DictConfig
    folder: Path

    @property
    def content(self) -> str:
        """The resolved configuration as YAML. Two jobs whose overrides differ may have the same content.

        If an interpolation cannot be resolved, the content is the overrides instead; the job itself reports the error.
        """
        try:
            return OmegaConf.to_yaml(self.config, resolve=True, sort_keys=True)
        except OmegaConfBaseException:  # the job itself reports what cannot be resolved
            return repr(self.overrides)


class JobsFailed(CompactHydraException):
    """Some jobs of a sweep failed. Each folder holds its traceback, so Hydra prints none."""


class JobSweeper(Sweeper):
    """A sweeper that puts its configured parameters after the overrides of the command line in each job.

    Hydra's sweeper puts them first. An experiment on the command line would then override the values of a group that
    the sweep adds, such as `+ablation`.
    """

    deleted: Sequence[str] = ()  # keys to delete from each job's configuration, as `~key` does

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store Hydra's context, the function of a job and the configuration. Hydra calls it before `sweep`."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self._loader, self._master, self._launcher = hydra_context.config_loader, config, self.launcher

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return Path(self._master.hydra.sweep.dir)

    def parse(self, overrides: Iterable[str]) -> list[Override]:
        """Parse overrides with Hydra. A sweep over one value becomes the plain override (see `arguments.for_jobs`)."""
        parser = OverridesParser.create(config_loader=self._loader)
        return [plain(parser, override) for override in parser.parse_overrides(list(overrides))]

    def arranged(self, arguments: Sequence[str], params: Mapping[str, Any]) -> list[Override]:
        """Return all overrides of the sweep in the order in which they are applied.

        First `+sweep=...`, then the rest of the command line, then the parameters that the command line does not set.

        Args:
            arguments: the overrides of the command line.
            params: key -> value: the sweeper's configured parameters.
        """
        words = [*arguments, *(f"~{key}" for key in self.deleted)]
        given = sorted(self.parse(words), key=lambda override: override.key_or_group != "sweep")  # stable
        keys = {override.key_or_group for override in given}
        added = self.parse(f"{key}={value}" for key, value in params.items())
        return [*given, *(override for override in added if override.key_or_group not in keys)]

    def job(self, overrides: Sequence[str], swept: Collection[str] = ()) -> Job:
        """Compose the job with these overrides. Its folder is named after them, unless `hydra.sweep.subdir` is given.

        Args:
            overrides: the overrides of the job.
            swept: the keys that the sweep varies; they come first in the folder's name.

        Raises Hydra's composition errors, such as for an unknown key or option, with this job's overrides in the
        attribute `job_overrides`.
        """
        if not any(word.startswith("hydra.sweep.subdir=") for word in self._master.hydra.overrides.hydra):
            overrides = [*overrides, f"hydra.sweep.subdir={job_name(overrides, swept)}"]
        try:
            config = self._loader.load_sweep_config(self._master, list(overrides))
        except HydraException as error:
            error.job_overrides = [*self._master.hydra.overrides.hydra, *overrides]  # type: ignore[attr-defined]
            raise
        try:
            folder = Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir
        except OmegaConfBaseException:  # the launcher sets the value later, such as the job's number
            folder = self.folder
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        return Job(tuple(overrides), config, folder)

    def check_folders(self, jobs: Sequence[Job]) -> None:
        """Raise `HydraException` if two different jobs would share a folder."""
        first: dict[Path, Job] = {}
        for job in jobs:
            other = first.setdefault(job.folder, job)
            if other.content != job.content and job.folder != self.folder:
                both = "\n".join(" ".join(one.overrides) for one in (other, job))
                raise HydraException(
                    f"two different jobs of this sweep would share the folder {job.folder}:\n{both}\n"
                    "remove hydra.sweep.subdir, or make it different for each job"
                )

    def launch(self, jobs: Sequence[Job], first: int) -> list[Any | Exception]:
        """Run jobs with the configured launcher.

        Args:
            jobs: the jobs.
            first: the number of the first job.

        Returns:
            For each job its return value, or its exception if it failed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self._master, self.folder / "multirun.yaml")
        results = self._launcher.launch([job.overrides for job in jobs], initial_job_idx=first)
        return [_value(result) for result in results]


def print_line(text: str) -> None:
    """Print a line to stderr. The sweepers cannot log: loggers are set up in the jobs only."""
    print(text, file=sys.stderr, flush=True)


def check_failures(jobs: Sequence[Job], results: Sequence[Any]) -> None:
    """Print the failed jobs, and raise `JobsFailed` if there are any.

    Args:
        jobs: the jobs.
        results: for each job its return value or its exception.
    """
    failed = [(job, error) for job, error in zip(jobs, results, strict=True) if isinstance(error, Exception)]
    for job, error in failed:
        print_line(f"failed: {job.folder}: {type(error).__name__}: {error}")
    if failed:
        raise JobsFailed(
            f"{len(failed)} of {len(jobs)} jobs failed; each folder holds its traceback.txt. The same command "
            "runs only the missing jobs"
        )


def _value(result: Any) -> Any | Exception:
    try:
        return result.return_value
    except Exception as error:  # any error of a job; its folder and the end of the sweep report it
        return error
