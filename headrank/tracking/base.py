"""What the pipeline tells a tracker, and the tracker that keeps nothing."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from headrank.evaluation import BenchmarkResult


@runtime_checkable
class Tracker(Protocol):
    """Follows one run. Whatever it is told comes from the run folder, so that a tracker only shows, never keeps."""

    def start(self, folder: Path, *, systems: Iterable[str], benchmarks: Iterable[str]) -> None:
        """The run begins, before any work. An exception here stops it."""

    def status(self, status: Mapping[str, Any]) -> None:
        """The content of `status.json`, each time it is written; before `start`, too, where that failed."""

    def files(self, kind: str, folder: Path, names: Sequence[str]) -> None:
        """Files or folders of the run folder that are final: kind `heads`, `aligned-heads` or `model`."""

    def epochs(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        """All epochs of the alignment so far (`epochs.csv`), after each of them and again at its end."""

    def results(
        self, results: Sequence[BenchmarkResult], folder: Path, *, metric: str, numbers: Mapping[str, float | int]
    ) -> None:
        """All benchmarks are scored and the report is written. metric: the main one. numbers: `facts.run_numbers`."""

    def finish(self, *, failed: bool) -> None:
        """The run is over. Always called, once."""


class NoTracker(Tracker):
    """Tells nobody: every method does nothing."""
