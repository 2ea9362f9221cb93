"""All findings about an experiment, in the order in which they are read."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from headrank.doctor.findings import Finding, State

if TYPE_CHECKING:  # each part imports what it needs when it is checked: one missing package hides no other part
    from headrank.experiment import Experiment


def examine(experiment: "Experiment", *, offline: bool = False) -> list[Finding]:
    """What the experiment needs besides packages: machine, memory, model, data, disk.

    offline: whether the Hugging Face hub is switched off for runs (HF_HUB_OFFLINE), which a remedy then mentions.

    A part that cannot be checked because a package is missing is a finding. Raises `UnknownCollectionError` and
    `FileNotFoundError` for collections that do not exist.
    """

    def machine() -> list[Finding]:
        from headrank.doctor.machine import machine_findings

        return machine_findings(experiment)

    def model() -> list[Finding]:
        from headrank.doctor.machine import model_findings

        return model_findings(experiment, offline=offline)

    def memory() -> list[Finding]:
        from headrank.doctor.memory import memory_findings

        return memory_findings(experiment)

    def data() -> list[Finding]:
        from headrank.doctor.data import data_findings, disk_findings

        findings, space = data_findings(experiment)
        return [*findings, *disk_findings(experiment, space)]

    return [*_checked((machine, model, memory, data))]


def _checked(parts: Sequence[Callable[[], list[Finding]]]) -> Iterator[Finding]:
    for part in parts:
        try:
            yield from part()
        except ModuleNotFoundError as error:
            yield unchecked(part.__name__, error)


def unchecked(part: str, error: ModuleNotFoundError) -> Finding:
    """The finding for a part that a missing package leaves unchecked."""
    return Finding(part, "not checked", State.MISSING, f"this needs the package {error.name}, which is not installed")
