"""The interface between the pipeline and a tracker, and a tracker that does nothing."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from headrank.evaluation import BenchmarkResult


@runtime_checkable
class Tracker(Protocol):
    """Receives the progress and results of one run. All values are also in the run folder, so it need not keep any."""

    def start(self, folder: Path, *, systems: Iterable[str], benchmarks: Iterable[str]) -> None:
        """Called before any work, with the names of the systems and benchmarks. An exception stops the run."""

    def status(self, status: Mapping[str, Any]) -> None:
        """Called with the content of `status.json` after each write; also before `start`, if an earlier step failed."""

    def files(self, kind: str, folder: Path, names: Sequence[str]) -> None:
        """Called when files of the run folder are final.

        Args:
            kind: `heads` (selected heads), `aligned-heads` (heads after alignment) or `model` (the aligned checkpoint).
            folder: the run folder.
            names: paths of files or folders, relative to the run folder.
        """

    def epochs(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        """Called after each epoch of the alignment and at its end, with all rows of the epoch log."""

    def results(
        self, results: Sequence[BenchmarkResult], folder: Path, *, metric: str, numbers: Mapping[str, float | int]
    ) -> None:
        """Called when all benchmarks are scored and the report is written.

        Args:
            results: one per benchmark.
            folder: the run folder.
            metric: the metric that the report shows first, such as `ndcg@10`.
            numbers: model size and costs by name (`headrank.stages.facts.run_numbers`).
        """

    def finish(self, *, failed: bool) -> None:
        """Called exactly once, at the end of the run."""


class NoTracker(Tracker):
    """A tracker whose methods do nothing."""
