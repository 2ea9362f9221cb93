"""Collect all findings about an experiment, in the order of the doctor's report."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from headrank.doctor.findings import Finding, State

if TYPE_CHECKING:  # each check imports its packages itself, so that a missing package hides no other check
    from headrank.experiment import Experiment


def examine(experiment: "Experiment", *, offline: bool = False) -> list[Finding]:
    """Check what the experiment needs apart from packages: machine, model, memory, data, disk.

    Args:
        experiment: the experiment to check.
        offline: whether runs have no access to the Hugging Face hub (HF_HUB_OFFLINE); remedies mention it.

    Returns:
        The findings. A part that cannot be checked because a package is missing gives one finding.

    Raises:
        UnknownCollectionError: an ir_datasets id does not exist.
        FileNotFoundError: a sample collection does not exist.
    """

    def machine() -> list[Finding]:
        from headrank.doctor.machine import machine_findings

        return machine_findings(experiment)

    def model() -> list[Finding]:
        from headrank.doctor.model_files import model_findings

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
    """Return the finding for a part that cannot be checked without a missing package."""
    return Finding(part, "not checked", State.MISSING, f"needs the package {error.name}, which is not installed")
