"""Helpers of the strict readers of runs, qrels, passages and queries: numbered lines, checks of ids, error messages."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrank.errors import FormatError, MissingFileError

# An id may not contain whitespace of any script (some readers of TREC files end a column there), control characters,
# lone surrogates (UTF-8 cannot encode them) or the byte-order mark (readers drop it at the start of a file).
_NOT_IN_AN_ID = re.compile("[\\s\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN = 80  # characters of a bad value shown in an error


def shown(value: object) -> str:
    """The repr of a value for an error message, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def format_error(path: Path, line: int, found: str, expected: str) -> FormatError:
    """A `FormatError` with the message `path:line: <found>; expected <expected>`."""
    return FormatError(f"{path}:{line}: {found}; expected {expected}")


def id_fault(text: str) -> str | None:
    """The reason why `text` cannot be the id of a query or a passage, or None if it can."""
    if not text:
        return "is empty"
    found = _NOT_IN_AN_ID.search(text)
    if found:
        return f"contains U+{ord(found.group()):04X} (whitespace, control character, surrogate or byte-order mark)"
    return None


def text_fault(text: str) -> str | None:
    """The reason why UTF-8 cannot encode `text` (a lone surrogate), or None if it can. An empty text is allowed."""
    found = _SURROGATE.search(text)
    return f"contains the lone surrogate U+{ord(found.group()):04X}, which is not valid Unicode" if found else None


@contextmanager
def opened(path: Path) -> Iterator[None]:
    """Turn an `OSError` raised while `path` is read into `FormatError`, or `MissingFileError` if it does not exist."""
    try:
        yield
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file; expected a readable file") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FormatError(f"{path}: cannot be read ({reason}); expected a readable file") from error


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yield (line number from 1, line without its line end) for each line of a UTF-8 file.

    Only `\n` and `\r\n` end a line; U+2028, vertical tabs and similar characters do not. A byte-order mark at the start
    is dropped.

    Raises:
        FormatError: if a line is blank, bytes are not UTF-8, or the file cannot be read.
        MissingFileError: if the file does not exist.
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
