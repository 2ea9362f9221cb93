"""Run a sweep's jobs on a Ray cluster (extra `ray`) with the resources that each job requests.

It replaces `hydra-ray-launcher` 1.2, which needs cloudpickle below 3 (joblib no longer supports it) and waits forever
for resources that no node has.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from headrank.extras import require_extra

RESOURCES = {"num_cpus": "CPU", "num_gpus": "GPU"}


class RayLauncher(Launcher):
    """Runs each job as a Ray task, in parallel as resources allow. Workers need this environment and the same files.

    init: arguments of `ray.init`. An `address` of None starts a cluster on this machine.
    remote: arguments of `ray.remote` for each job: `num_cpus`, `num_gpus`, ...
    """

    def __init__(self, init: Mapping[str, Any], remote: Mapping[str, Any]) -> None:
        self.init, self.remote = dict(init), dict(remote)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store Hydra's context, the function of a job and the configuration. Hydra calls it before `launch`."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and wait for them.

        Args:
            job_overrides: the overrides of each job.
            initial_job_idx: the number of the first job.

        Returns:
            For each job its return value or its exception, as Hydra's `JobReturn`.

        Raises `MissingExtraError` without Ray, and `HydraException` if the cluster of this machine lacks what a job
        requests.
        """
        require_extra("ray", "hydra/launcher=ray_cpu or ray_gpu")
        import ray  # pyright: ignore[reportMissingImports]

        setup_globals()
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        if not ray.is_initialized():
            ray.init(**self.init, log_to_driver=True)
        if self.init.get("address") is None:
            check_resources(self.remote, ray.cluster_resources())
        task = ray.remote(**self.remote)(_run)
        tasks = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id, config.hydra.job.num = str(number), number
            state = Singleton.get_state()
            tasks.append(task.remote(os.getcwd(), self.hydra_context, config, self.task_function, state))
        return [_result(ray.get, one) for one in tasks]


def check_resources(requested: Mapping[str, Any], available: Mapping[str, float]) -> None:
    """Raise `HydraException` if a job requests more CPUs or GPUs than the cluster has: it would wait forever.

    Args:
        requested: the arguments of `ray.remote`.
        available: Ray's resources of the cluster: name -> amount, for example `CPU` -> 8.0.
    """
    for key, name in RESOURCES.items():
        if (requested.get(key) or 0) > available.get(name, 0):
            raise HydraException(
                f"hydra.launcher.remote.{key} is {requested[key]}, but this machine's Ray cluster has "
                f"{available.get(name, 0):g}; set hydra.launcher.remote.{key} to at most that, or the address "
                "of a larger cluster (hydra.launcher.init.address=auto)"
            )


def _run(folder: str, context: HydraContext, config: DictConfig, function: TaskFunction, state: Any) -> JobReturn:
    """Run one job in a worker."""
    os.chdir(folder)
    setup_globals()
    Singleton.set_state(state)
    return run_job(
        task_function=function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
    )


def _result(get: Any, task: Any) -> JobReturn:
    try:
        return get(task)
    except Exception as error:  # a worker that died, or an exception that cannot be pickled: the other jobs continue
        failed = JobReturn()
        failed.status, failed.return_value = JobStatus.FAILED, error
        return failed
