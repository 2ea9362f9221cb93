"""Read JSON strictly: repeated keys, NaN and infinity, which `json.loads` accepts, are errors that name the file."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from headrank.errors import FormatError


def parse_json(text: str, where: str) -> Any:
    """Parse a JSON text.

    Args:
        text: the JSON text.
        where: the place of the text, a file or file:line; error messages begin with it.

    Raises:
        FormatError: if the text is not JSON, a key is repeated in an object, a number is NaN, infinite, above the range
            of float64 or has thousands of digits, or values are nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise FormatError(f"{where}: values nested too deeply, expected fewer than 1,000 levels") from None
    except json.JSONDecodeError as error:
        raise FormatError(f"{where}: not JSON: {error}") from None
    except ValueError as error:  # of the hooks, and of int() on too many digits
        raise FormatError(f"{where}: {error}") from None


def read_json(path: Path) -> Any:
    """Parse a UTF-8 JSON file.

    Raises `FormatError` if the content is not UTF-8 or `parse_json` rejects it, and `OSError` if it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: bytes that are not UTF-8 ({error.reason}), expected UTF-8 text") from None
    return parse_json(text, str(path))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r} is given twice, expected each key once")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"the number {name}, expected a finite one")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:40]}, expected one within the range of float64")
    return value
