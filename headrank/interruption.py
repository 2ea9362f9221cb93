"""Handle interruptions of a run: Ctrl-C, SIGTERM, SIGHUP, SLURM's signals and time limits.

Each raises an exception in the run, so that files are closed and `status.json` has the state `interrupted`. The exit
code is 128 plus the signal's number. The same command resumes the run.
"""

import logging
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)


class Interrupted(SystemExit):
    """A signal ended the run.

    number: the signal's number; the exit code `code` is 128 plus this number.
    logged: whether the interruption has been logged.
    """

    def __init__(self, number: int, *, logged: bool = False) -> None:
        super().__init__(128 + number)
        self.number, self.logged = number, logged

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[int]]:
        return type(self), (self.number,)


def interruption(error: BaseException) -> str | None:
    """Return the cause of an interruption as text, such as "Ctrl-C"; None for a failure (any `Exception`).

    The cause is recognised even if the exception is another one: Lightning turns Ctrl-C into `SystemExit`, and submitit
    does so with a time limit, after it has requeued the job.
    """
    if isinstance(error, Exception):
        return None
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt) or (isinstance(seen, Interrupted) and seen.number == signal.SIGINT):
            return "Ctrl-C"
        if isinstance(seen, Interrupted):
            return _in_slurm(signal.Signals(seen.number).name)
        seen = seen.__cause__ or seen.__context__
    if any(_module(frame).startswith("submitit") for frame, _ in traceback.walk_tb(error.__traceback__)):
        return "a time limit or preemption; the job is requeued and will resume"
    return f"exit {error.code}" if isinstance(error, SystemExit) else type(error).__name__


def _in_slurm(name: str) -> str:
    job = os.environ.get("SLURM_JOB_ID")
    return f"{name} (a time limit, preemption or scancel of SLURM job {job})" if job else name


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


@contextmanager
def interruptible(*, log: bool = True) -> Iterator[None]:
    """Turn a signal within the context into `Interrupted`, a `SystemExit` with code 128 plus the signal's number.

    Ctrl-C, SIGTERM and SIGHUP are handled, and within a SLURM job SIGUSR1 and SIGUSR2, which `sbatch --signal` sends
    before a time limit. A signal that already has a handler or is ignored is left alone, except Ctrl-C: submitit
    handles SIGTERM, and nohup ignores SIGHUP. Outside the main thread only Ctrl-C is handled. After the first of these
    signals all but Ctrl-C are ignored until the context ends; Ctrl-C still interrupts the clean-up.

    log: whether to log one line that names the signal.
    """
    numbers = [signal.SIGTERM, signal.SIGHUP]
    numbers += [signal.SIGUSR1, signal.SIGUSR2] if "SLURM_JOB_ID" in os.environ else []
    main = threading.current_thread() is threading.main_thread()
    taken = [number for number in numbers if main and signal.getsignal(number) is signal.SIG_DFL]
    before = signal.getsignal(signal.SIGINT)
    ended = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ended
        if not ended:
            ended = True
            raise Interrupted(number)

    for number in taken:
        signal.signal(number, end)
    try:
        yield
    except Interrupted as error:
        if log and not error.logged:
            _log_line(interruption(error))
            error.logged = True
        raise
    except (KeyboardInterrupt, SystemExit) as error:
        if interruption(error) != "Ctrl-C":
            raise
        if log:
            _log_line("Ctrl-C")
        raise Interrupted(signal.SIGINT, logged=True) from None
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
        if main and before is not None:  # Lightning leaves Ctrl-C ignored
            signal.signal(signal.SIGINT, before)


def _log_line(what: str | None) -> None:
    logger.warning("interrupted by %s; the same command resumes", what)
