"""Start the training processes of an alignment, one per device, and give them their work.

- Without a launcher, `spawn` starts all processes on this machine from the process that runs the pipeline, and waits
  for them. If one fails, the others are killed and its traceback is raised.
- torchrun and srun (several machines) start all processes before the pipeline starts. Each process joins a
  `ProcessGroup` when it starts. Rank 0 runs the pipeline; the other ranks wait until it broadcasts the job. They wait
  on gloo, which raises an error if a process dies.
"""

import os
import socket
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import distributed
from torch.multiprocessing.spawn import spawn as start

from headrank.alignment.job import AlignmentJob
from headrank.alignment.settings import TrainerSettings
from headrank.io.launch import Launch
from headrank.logs import join_logging, quiet_lightning

LONGEST_WAIT = timedelta(days=7)  # for head selection in rank 0, which may read thousands of lists


def cluster(launch: Launch) -> ClusterEnvironment:
    """Return the Lightning cluster environment that matches how this process was launched.

    It is chosen explicitly, because Lightning assumes that every SLURM job was launched by srun.
    """
    if launch.launcher == "torchrun":
        return TorchElasticEnvironment()
    if launch.launcher == "srun":
        return SLURMEnvironment(auto_requeue=False)  # a requeued job resumes without Lightning
    return LightningEnvironment()


def spawn(work: Callable[[AlignmentJob], None], job: AlignmentJob, processes: int) -> None:
    """Run `work(job)` in `processes` new processes on this machine and wait for them.

    Args:
        work: called once in each process; must be picklable.
        job: the argument of `work`; must be picklable.
        processes: the number of processes.

    Raises:
        torch.multiprocessing.ProcessRaisedException: a process raised an error; the message holds its traceback.
    """
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = max(1, torch.get_num_threads() // processes)
    context = start(_worker, (work, job, port, threads), nprocs=processes, join=False)
    assert context is not None
    try:
        while not context.join():
            pass
    finally:
        for process in context.processes:  # alive only if this process was interrupted
            assert process is not None
            process.kill()


def _worker(rank: int, work: Callable[[AlignmentJob], None], job: AlignmentJob, port: int, threads: int) -> None:
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(threads)
    quiet_lightning()
    if rank == 0:
        join_logging()
    work(job)


class ProcessGroup:
    """The group of all processes that torchrun or srun launched.

    Each process creates this object when it starts. The settings must be the same in all of them.

    Args:
        machine: the trainer's devices and number of machines.
        launch: how this process was launched.
    """

    def __init__(self, machine: TrainerSettings, launch: Launch) -> None:
        quiet_lightning()
        self.launch = launch
        fabric = Fabric(
            accelerator=machine.accelerator,
            devices=machine.devices,
            num_nodes=machine.num_nodes,
            strategy=DDPStrategy(),
            plugins=[cluster(launch)],
        )
        fabric.launch()
        # Separate from NCCL's group, which keeps a GPU busy while it waits and times out after minutes.
        group = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
        assert isinstance(group, distributed.ProcessGroup)
        self._group = group

    def broadcast_job(self, job: AlignmentJob | None = None) -> AlignmentJob | None:
        """Send the job from rank 0 to all ranks. Every rank must call this method.

        Args:
            job: the job to send; ignored on other ranks than 0. None on rank 0: there is no further job,
                and the other ranks stop waiting for one. Rank 0 sends it in the end, also if nothing is trained.

        Returns:
            The job of rank 0; None if there is no further one.

        Raises:
            RuntimeError: rank 0 has died.
        """
        jobs = [job]
        distributed.broadcast_object_list(jobs, src=0, group=self._group)
        return jobs[0]

    def destroy(self) -> None:
        """Destroy the process group; afterwards rank 0 continues alone."""
        distributed.destroy_process_group()
