"""What the fuzz tests expect of every outcome: it works, or an error of this package names the place and the value."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from headrank.errors import HeadRankError

CHECKED = settings(
    derandomize=True,  # the same examples in every run: CI fails on a change of the code alone
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)

_SHOWN = 12  # characters of a value that an error has to show
_COLUMNS = re.compile("[ \t]")
_WORDS = re.compile(r"[^\s\"',:;()\[\]{}]+")


def outcome(action: Callable[[], Any]) -> tuple[Any, str | None]:
    """The action's result and None, or None and the message of the package's own error. Others are not caught."""
    try:
        return action(), None
    except HeadRankError as error:
        return None, str(error)


def check_message(message: str, path: Path) -> None:
    """The message names the file; if it names a line, the line exists and the message shows a part of it."""
    assert path.name in message
    place = re.search(rf"{re.escape(path.name)}:(\d+): ", message)
    if place is None:
        return
    lines = path.read_bytes().split(b"\n")
    number = int(place.group(1))
    assert 1 <= number <= len(lines)
    rest, line = message[place.end() :], lines[number - 1].decode("utf-8-sig" if number == 1 else "utf-8", "replace")
    if "UTF-8" in rest or "blank" in rest:
        return
    assert shows(rest, line), f"{message!r} shows nothing of {line!r}"


def shows(message: str, value: str) -> bool:
    """Whether the message holds a piece of the value: as it is, as Python writes it, or as a character's number."""
    codes = {f"U+{ord(character):04X}" for character in value}
    words = [*_WORDS.findall(value), *_COLUMNS.split(value), value.strip(), value]
    pieces = {word[:_SHOWN] for word in words}
    escaped = {repr(piece)[1:-1][:_SHOWN] for piece in pieces}
    return any(piece in message for piece in codes | pieces | escaped if piece)
