"""JSON read strictly: faults that `json.loads` ignores are errors that name the file."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from headrank.errors import FormatError


def parse_json(text: str, where: str) -> Any:
    """The value of a JSON text. `where` (a file, or file:line) begins every error.

    Raises `FormatError` on what is no JSON, on a key given twice, on NaN and infinity (a number above the range of
    float64 included), on whole numbers of thousands of digits, and on values nested too deeply to be read.
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
    """The value of a JSON file in UTF-8. Raises what `parse_json` raises, and `OSError` if the file does not exist."""
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
