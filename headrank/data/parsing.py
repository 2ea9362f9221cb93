"""Reading line-based input strictly: numbered lines, ids, and the error that names file and line.

Used by every reader of runs, qrels, passages and queries in this package.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrank.errors import FormatError, MissingFileError

# What an id may not hold: whitespace of any script (it ends a column in TREC files, for some readers), control
# characters, lone surrogates (no UTF-8 for them) and the byte-order mark (a reader drops it at a file's start).
_NOT_IN_AN_ID = re.compile("[\\s\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN = 80  # characters of a bad value shown in an error


def shown(value: object) -> str:
    """A value for an error message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def format_error(path: Path, line: int, found: str, expected: str) -> FormatError:
    """`path:line: found; expected ...`."""
    return FormatError(f"{path}:{line}: {found}; expected {expected}")


def id_fault(text: str) -> str | None:
    """Why `text` cannot be the id of a query or a passage, or None if it can."""
    if not text:
        return "is empty"
    found = _NOT_IN_AN_ID.search(text)
    if found:
        return f"holds U+{ord(found.group()):04X} (whitespace, control character, surrogate or byte-order mark)"
    return None


def text_fault(text: str) -> str | None:
    """Why `text` cannot be a text, or None if it can: UTF-8 holds any text but a lone surrogate; empty is allowed."""
    found = _SURROGATE.search(text)
    return f"holds the lone surrogate U+{ord(found.group()):04X}, which is not valid Unicode" if found else None


@contextmanager
def opened(path: Path) -> Iterator[None]:
    """Turn what the operating system raises while `path` is read into `FormatError`, `MissingFileError` among them."""
    try:
        yield
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file; expected a readable file") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FormatError(f"{path}: cannot be read ({reason}); expected a readable file") from error


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""The lines of a UTF-8 file with their numbers from 1, without their line ends.

    Only `\n` and `\r\n` end a line: U+2028, vertical tabs and the like are part of it. A byte-order mark at the start
    is dropped. Raises `FormatError` on a blank line, on bytes that are not UTF-8, and if the file cannot be read
    (`MissingFileError` if it does not exist).
    """
    with opened(path), path.open("rb") as handle:
        for number, raw in enumerate(handle, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise format_error(path, number, f"bytes that are not UTF-8 ({error.reason})", "UTF-8 text") from None
            line = line.removesuffix("\n").removesuffix("\r")
            if not line.strip():
                raise format_error(path, number, "a blank line", "a record on every line")
            yield number, line
