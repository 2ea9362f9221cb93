"""All findings about an experiment, in the order in which they are read."""

from headrank.doctor.data import data_findings, disk_findings
from headrank.doctor.findings import Finding
from headrank.doctor.machine import machine_findings, model_findings
from headrank.doctor.memory import memory_findings
from headrank.experiment import Experiment


def examine(experiment: Experiment, *, offline: bool = False) -> list[Finding]:
    """What the experiment needs beside packages: machine, memory, model, data, disk.

    offline: whether the Hugging Face hub is switched off for runs (HF_HUB_OFFLINE), which a remedy then says.

    Raises `UnknownCollectionError` and `FileNotFoundError` for collections that do not exist.
    """
    data, space = data_findings(experiment)
    return [
        *machine_findings(experiment),
        *model_findings(experiment, offline=offline),
        *memory_findings(experiment),
        *data,
        *disk_findings(experiment, space),
    ]
