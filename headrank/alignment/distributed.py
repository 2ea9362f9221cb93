"""The processes of one alignment, one for each device: how they come to be, and how they hear what to do.

- On one machine `spawn` starts them from the process that runs the pipeline, which waits. Where one fails the others
  are ended and its traceback is raised.
- Under torchrun or srun (several machines) they are there from the start. All join a `Crew` at once; the first goes on
  with the pipeline, the others wait to be told what to train. Who waits for a process that has died gets an error: the
  waiting goes over gloo, which notices.
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

from headrank.alignment.settings import TrainerSettings
from headrank.alignment.training_spec import AlignmentJob
from headrank.io.launch import Started
from headrank.logs import join_logging, quiet_lightning

LONGEST_WAIT = timedelta(days=7)  # for the first process's selection, which may read thousands of lists


def cluster(started: Started) -> ClusterEnvironment:
    """What Lightning asks for rank and address. Said to it, since it takes any SLURM job for one started by srun."""
    if started.by == "torchrun":
        return TorchElasticEnvironment()
    if started.by == "srun":
        return SLURMEnvironment(auto_requeue=False)  # a job that is started again resumes by itself
    return LightningEnvironment()


def spawn(work: Callable[[AlignmentJob], None], job: AlignmentJob, processes: int) -> None:
    """Run `work(job)` in `processes` new processes of this machine, and wait for them. Both have to be picklable.

    Raises `torch.multiprocessing.ProcessRaisedException`, with its traceback, where one of them raised.
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
        for process in context.processes:  # where this one was interrupted
            assert process is not None
            process.kill()


def _worker(rank: int, work: Callable[[AlignmentJob], None], job: AlignmentJob, port: int, threads: int) -> None:
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(threads)
    quiet_lightning()
    if rank == 0:
        join_logging()
    work(job)


class Crew:
    """All processes that torchrun or srun started. Made in each of them, at the start, by the same settings."""

    def __init__(self, machine: TrainerSettings, started: Started) -> None:
        quiet_lightning()
        self.started = started
        fabric = Fabric(
            accelerator=machine.accelerator,
            devices=machine.devices,
            num_nodes=machine.num_nodes,
            strategy=DDPStrategy(),
            plugins=[cluster(started)],
        )
        fabric.launch()
        # Beside NCCL's group, whose waiting would keep a GPU busy and end after minutes.
        group = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
        assert isinstance(group, distributed.ProcessGroup)
        self._group = group

    def share(self, job: AlignmentJob | None = None) -> AlignmentJob | None:
        """The first process's job, None if it has none; all have to call it. Raises where the first has died."""
        box = [job]
        distributed.broadcast_object_list(box, src=0, group=self._group)
        return box[0]

    def leave(self) -> None:
        """Go on alone."""
        distributed.destroy_process_group()
