"""The interface between the pipeline and a tracker, and a tracker that does nothing."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from headrank.evaluation import BenchmarkResult


@runtime_checkable
class Tracker(Protocol):
    """Receives the progress and results of one run. All values are also in the run folder, so it need not keep any."""

    def start(self, folder: Path, *, systems: Iterable[str], benchmarks: Iterable[str]) -> None:
        """Start tracking. The pipeline calls this method before any work.

        An exception stops the run.

        Args:
            folder: the run folder.
            systems: the names of the systems.
            benchmarks: the names of the benchmarks.
        """

    def status(self, status: Mapping[str, Any]) -> None:
        """Receive the content of `status.json`. The pipeline calls this method after each write of that file.

        It is also called before `start`, if an earlier step failed.
        """

    def files(self, kind: str, folder: Path, names: Sequence[str]) -> None:
        """Receive files of the run folder that will not change any more.

        Args:
            kind: `heads` (selected heads), `aligned-heads` (heads after alignment) or `model` (the aligned checkpoint).
            folder: the run folder.
            names: paths of files or folders, relative to the run folder.
        """

    def epochs(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        """Receive all rows of the epoch log. This is called after each epoch and at the end of alignment."""

    def results(
        self, results: Sequence[BenchmarkResult], folder: Path, *, metric: str, numbers: Mapping[str, float | int]
    ) -> None:
        """Receive the results, after all benchmarks are scored and the report is written.

        Args:
            results: one per benchmark.
            folder: the run folder.
            metric: the metric that the report shows first, such as `ndcg@10`.
            numbers: model size and costs by name (`headrank.stages.facts.run_numbers`).
        """

    def finish(self, *, failed: bool) -> None:
        """End tracking. The pipeline calls this method exactly once, at the end of the run.

        failed: whether the run failed.
        """


class NoTracker(Tracker):
    """A tracker whose methods do nothing."""
