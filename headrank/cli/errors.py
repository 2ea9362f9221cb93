"""Print errors of the package as one line on stderr and end the process with an exit code."""

import os
import sqlite3
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from headrank.errors import ConfigError, HeadRankError
from headrank.interruption import interruptible


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line for an expected error: exit code 2 for a `ConfigError`, 1 for any other.

    Expected are errors of this package, `ValueError` and `OSError`. `HEADRANK_FULL_ERROR=1` adds the traceback. If the
    reader of stdout has ended, the exit code is 0. Signals end the process with 128 plus their number.
    """
    try:
        with interruptible():
            yield
    except (HeadRankError, ValueError, OSError, sqlite3.Error) as error:
        if isinstance(error, BrokenPipeError):  # the reader of stdout has ended
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        if os.environ.get("HEADRANK_FULL_ERROR") == "1":
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
