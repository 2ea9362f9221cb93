"""Set up logging for all commands: this package's messages and other packages' warnings, on stderr and in a file.

    set_up_logging(file=folder / "run.log")
    with Progress(len(lists), "rerank: fiqa by headrank", "list") as progress:
        progress.update()

Progress is shown as a bar on a terminal. Elsewhere, and in the file, a line is logged every `SECONDS` seconds.
"""

import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")

SECONDS = 30.0  # between two lines of progress
_OURS = ("headrank", "hydra_plugins", "experiments", "__main__")
_FILE = "HEADRANK_RUN_LOG"  # passes the run's log file to training processes
_PROGRESS = "progress"  # marks a record of progress, which a bar shows too

logger = logging.getLogger(__name__)


class _Lines(logging.Handler):
    """Writes one line per record, above any progress bar: warnings, and this package's INFO records without repetition.

    file: None for stderr. bars: whether bars show progress here; then records of progress are omitted.
    """

    def __init__(self, file: TextIO | None = None, *, bars: bool = False) -> None:
        super().__init__()
        self.file, self.bars = file, bars
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record unless it is filtered out."""
        try:
            line = self.format(record)
            if record.levelno < logging.WARNING:
                progress = hasattr(record, _PROGRESS)
                if record.name.split(".")[0] not in _OURS or (progress and self.bars):
                    return
                message = record.getMessage()
                if message in self._shown and not progress:
                    return
                self._shown.add(message)
            tqdm.write(line, file=self.file or sys.stderr)
            if self.file is not None:
                self.file.flush()
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()
        super().close()


def set_up_logging(level: int = logging.INFO, *, file: Path | None = None) -> None:
    """Log to stderr, and append lines with times to `file` if it is given.

    A second call replaces the settings of the first; the jobs of a sweep use this.

    level: the lowest level of this package's records that is logged. Other libraries log warnings and errors.
    """
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, _Lines)]:
        root.removeHandler(handler)
        handler.close()
    root.addHandler(_Lines(bars=sys.stderr.isatty()))
    os.environ.pop(_FILE, None)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = _Lines(file.open("a", encoding="utf-8"))
        lines.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        root.addHandler(lines)
        os.environ[_FILE] = str(file)
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(level if level < logging.WARNING else logging.NOTSET)
    _quiet_libraries()


def join_logging() -> None:
    """Log to stderr and the run's log file in a process that a run started. If logging is set up, nothing changes."""
    if _FILE in os.environ and not logging.getLogger().handlers:
        set_up_logging(file=Path(os.environ[_FILE]))


def _quiet_libraries() -> None:
    """Quiet libraries that set their own level or handler when they are imported or used."""
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").handlers.clear()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"lightning\.")
    ir_datasets = logging.getLogger("ir_datasets")  # has its own handler and level
    ir_datasets.filters = [_not_a_step]
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # read at import
    if "transformers" in sys.modules:  # its bars last seconds; the hub's bars show downloads
        sys.modules["transformers"].utils.logging.disable_progress_bar()


def _not_a_step(record: logging.LogRecord) -> bool:
    """Whether the record is more than an opened file or a started or finished step. A download has an address."""
    message = record.getMessage()
    return "://" in message or not message.startswith(("Opening ", "[starting] ", "[finished] "))


class _BarOnATerminal(tqdm):
    """A bar that is disabled if stderr is not a terminal."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"disable": None, **kwargs})


def quiet_ir_datasets() -> None:
    """Show the progress bars of ir_datasets only on terminals. Call it after ir_datasets is imported.

    Its logger would otherwise draw them at every log level.
    """
    sys.modules["ir_datasets"].lazy_libs.tqdm = lambda: SimpleNamespace(tqdm=_BarOnATerminal)


def quiet_lightning() -> None:
    """Hide Lightning's messages below WARNING. Call it after importing Lightning, which sets its own level."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


@contextlib.contextmanager
def quiet_model_loading() -> Iterator[None]:
    """Make transformers log only errors within this context, while it loads a model.

    A model cut to its first layers leaves the weights of later layers unused on purpose, which would cause warnings.
    One of the quieted loggers lists layers that it does not shard, even on one device.
    """
    names = (
        "transformers.modeling_utils",
        "transformers.utils.loading_report",
        "transformers.distributed.tensor_parallel",
    )
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class Progress:
    """Shows the progress of a step: a bar on a terminal; elsewhere and in the log file a line every `SECONDS` seconds.

    Use it in a `with` statement. A last line gives the duration, unless the step ends with an error.

    total: the number of units; None: unknown.
    description: the name of the step.
    unit: the name of a unit.
    plural: the plural of the unit's name; None: with "s".
    initial: the number of units already done.
    log_end: whether that last line is logged.
    """

    def __init__(
        self,
        total: int | None,
        description: str,
        unit: str,
        *,
        plural: str | None = None,
        initial: int = 0,
        log_end: bool = True,
    ) -> None:
        self.total, self.description, self.log_end = total, description, log_end
        self.units = plural or f"{unit}s"
        self.done = self._initial = initial
        self._start = self._last = time.monotonic()
        self._bar = tqdm(
            total=total, initial=initial, desc=description, unit=unit, leave=False, disable=not sys.stderr.isatty()
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        if kind is None and self.log_end:
            took = seconds_text(time.monotonic() - self._start)
            logger.info("%s: %d %s in %s", self.description, self.done, self.units, took)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()

    def update(self, count: int = 1) -> None:
        """Count `count` more units as done."""
        self.done += count
        self._bar.update(count)
        now = time.monotonic()
        if now - self._last < SECONDS or self.done == self.total:
            return
        self._last = now
        of = f" of {self.total}" if self.total else ""
        left = ""
        if self.total and self.done > self._initial:
            each = (now - self._start) / (self.done - self._initial)
            left = f", about {seconds_text(each * (self.total - self.done))} left"
        logger.info("%s: %d%s %s%s", self.description, self.done, of, self.units, left, extra={_PROGRESS: True})

    def track(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items. Each counts as done when the next one is requested."""
        with self:
            for item in items:
                yield item
                self.update()


def counts_text(*counts: tuple[int, str]) -> str:
    """Format the counts above 0, as in `; 2 queries without candidates, 3 lists of one grade`.

    The text is empty if all counts are 0.

    counts: pairs of a number and the name of what it counts.
    """
    shown = [f"{count} {name}" for count, name in counts if count]
    return f"; {', '.join(shown)}" if shown else ""


def seconds_text(seconds: float | int) -> str:
    """Format a duration, such as `7 s`, `12 min` or `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
