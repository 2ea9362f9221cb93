"""Read numbered lines, check ids and word errors, for the strict readers of runs, qrels, passages and queries."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar

from headrank.errors import FormatError, MissingFileError

T = TypeVar("T")

Source: TypeAlias = Path | Iterable[bytes]
"""A file to read (compressed if its name ends in `.gz`), or lines of bytes, such as `sys.stdin.buffer`."""
OnInvalid: TypeAlias = Callable[[FormatError], object] | None
"""What a reader does with an invalid line: call this and skip the line, or (None) raise the error."""

# An id may not contain whitespace of any script (some readers of TREC files end a column there), control characters,
# lone surrogates (UTF-8 cannot encode them) or the byte-order mark (readers drop it at the start of a file).
_NOT_IN_AN_ID = re.compile("[\\s\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SEPARATOR = re.compile("[ \t]+")
INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)  # 18 digits fit 64 bits; int() also reads "1_000" and other digits
_SHOWN = 80  # characters of a bad value shown in an error


def shown(value: object) -> str:
    """Return the repr of a value, cut to 80 characters, for an error message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def format_error(path: Path | str, line: int, found: str, expected: str) -> FormatError:
    """Return a `FormatError` with the message `path:line: <found>; expected <expected>`."""
    return FormatError(f"{path}:{line}: {found}; expected {expected}")


def id_fault(text: str) -> str | None:
    """Return the reason why `text` cannot be the id of a query or a passage, or None if it can."""
    if not text:
        return "is empty"
    found = _NOT_IN_AN_ID.search(text)
    if found:
        return f"contains U+{ord(found.group()):04X} (whitespace, control character, surrogate or byte-order mark)"
    return None


def checked_id(path: Path | str, line: int, what: str, text: str) -> str:
    """Return `text` if it is a valid id, else raise `FormatError` with the place and with `what`.

    path, line: the place of the id. what: `query` or `passage`.
    """
    fault = id_fault(text)
    if fault:
        raise format_error(path, line, f"{what} id {shown(text)}, which {fault}", "an id without whitespace")
    return text


def split_columns(path: Path | str, number: int, line: str, names: Sequence[str], hint: str | None = None) -> list[str]:
    """Split a line into columns, separated by spaces or tabs.

    path, number: the place of the line. Raises `FormatError` if the number of columns differs from that of `names`. Its
    message lists `names`, or `hint` if given.
    """
    columns = _SEPARATOR.split(line.strip(" \t"))
    if len(columns) != len(names):
        expected = f"{len(names)} columns ({hint or ' '.join(names)})"
        raise format_error(path, number, f"{len(columns)} columns in {shown(line)}", expected)
    return columns


def text_fault(text: str) -> str | None:
    """Return the reason why UTF-8 cannot encode `text` (a lone surrogate), or None if it can."""
    found = _SURROGATE.search(text)
    return f"contains the lone surrogate U+{ord(found.group()):04X}, which is not valid Unicode" if found else None


def source_name(source: Source) -> str:
    """Return the name of a source in error messages: the path of a file, or the name of a stream."""
    return str(source) if isinstance(source, Path) else str(getattr(source, "name", "stream"))


def plain_name(path: Path) -> str:
    """Return the file's name without `.gz`."""
    return path.name.removesuffix(".gz")


@contextmanager
def opened(path: Path | str) -> Iterator[None]:
    """Turn an `OSError` raised while `path` is read into `FormatError`, or `MissingFileError` if it does not exist."""
    try:
        yield
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file; expected a readable file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(f"{path}: damaged or not gzip ({error}); expected a complete gzip file") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FormatError(f"{path}: cannot be read ({reason}); expected a readable file") from error


@contextmanager
def _bytes_of(source: Source) -> Iterator[Iterable[bytes]]:
    if not isinstance(source, Path):
        with opened(source_name(source)):
            yield source
        return
    with opened(source), source.open("rb") as handle:
        if source.suffix == ".gz":
            with gzip.open(handle) as unpacked:
                yield unpacked
        else:
            yield handle


def numbered_lines(source: Source, on_invalid: OnInvalid = None) -> Iterator[tuple[int, str]]:
    r"""Yield (line number from 1, line without its line end) for each line of UTF-8 text.

    Only `\n` and `\r\n` end a line; U+2028, vertical tabs and similar characters do not. A byte-order mark at the start
    is dropped. Blank lines at the end are ignored; a blank line before another line is invalid, since files that were
    cut or put together wrongly have such lines.

    Args:
        source: a file or a stream.
        on_invalid: called with the error of an invalid line, which is skipped; None: the error is raised. A file that
            cannot be read always raises.

    Raises:
        FormatError: if bytes are not UTF-8, a line is blank, or the file cannot be read.
        MissingFileError: if the file does not exist.
    """
    name = source_name(source)
    blank: list[int] = []  # numbers of blank lines that are at the end so far
    with _bytes_of(source) as handle:
        for number, raw in enumerate(handle, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n").removesuffix("\r")
            except UnicodeDecodeError as error:
                found = f"bytes that are not UTF-8 ({error.reason})"
                skip_or_raise(format_error(name, number, found, "UTF-8 text"), on_invalid)
                continue
            if not line.strip():
                blank.append(number)
                continue
            for earlier in blank:
                expected = "a record on every line, and blank lines only at the end"
                skip_or_raise(format_error(name, earlier, "a blank line", expected), on_invalid)
            blank = []
            yield number, line


def parsed_lines(source: Source, parse: Callable[[str, int, str], T], on_invalid: OnInvalid = None) -> Iterator[T]:
    """Yield `parse(name of the source, line number, line)` for each line.

    A line for which `parse` raises `FormatError` is invalid. See `numbered_lines` for `on_invalid` and the errors.
    """
    name = source_name(source)
    for number, line in numbered_lines(source, on_invalid):
        try:
            value = parse(name, number, line)
        except FormatError as error:
            skip_or_raise(error, on_invalid)
            continue
        yield value


def skip_or_raise(error: FormatError, on_invalid: OnInvalid) -> None:
    """Call `on_invalid` with the error of an invalid line; if `on_invalid` is None, raise the error."""
    if on_invalid is None:
        raise error from None
    on_invalid(error)
