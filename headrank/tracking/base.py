"""The interface between the pipeline and a tracker, and a tracker that does nothing."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from headrank.evaluation import BenchmarkResult


@runtime_checkable
class Tracker(Protocol):
    """Shows one run. All values also lie in the run folder, so a tracker never has to keep anything."""

    def start(self, folder: Path, *, systems: Iterable[str], benchmarks: Iterable[str]) -> None:
        """Called before any work. An exception stops the run."""

    def status(self, status: Mapping[str, Any]) -> None:
        """Called with the content of `status.json` after each write; also before `start`, if an earlier step failed."""

    def files(self, kind: str, folder: Path, names: Sequence[str]) -> None:
        """Called when files or folders of the run folder are final. kind: `heads`, `aligned-heads` or `model`."""

    def epochs(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        """Called with all rows of the epoch log so far, after each epoch and at the end of the alignment."""

    def results(
        self, results: Sequence[BenchmarkResult], folder: Path, *, metric: str, numbers: Mapping[str, float | int]
    ) -> None:
        """Called when all benchmarks are scored and the report is written.

        Args:
            results: one per benchmark.
            folder: the run folder.
            metric: the leading metric.
            numbers: further numbers by name (`facts.run_numbers`).
        """

    def finish(self, *, failed: bool) -> None:
        """Called exactly once, at the end of the run."""


class NoTracker(Tracker):
    """A tracker whose methods do nothing."""
