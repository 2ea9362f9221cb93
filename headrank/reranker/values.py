"""Check single values that a user gives. Errors name the value."""

import operator
from typing import Any

from headrank.errors import ConfigError


def expect_type(value: object, kinds: type | tuple[type, ...], name: str) -> Any:
    """Return the value. Raises `TypeError`, which names it as `name`, unless it has one of these types."""
    if not isinstance(value, kinds):
        expected = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise TypeError(f"{name} is {shown(value)}; expected {expected}")
    return value


def is_whole(value: object) -> bool:
    """Return whether the value is an integer, of Python or numpy."""
    return hasattr(value, "__index__") and not isinstance(value, bool)


def read_whole(value: object, name: str) -> int:
    """Return an integer of Python or numpy as `int`. Raises `TypeError`, which names it as `name`, for other values."""
    if not is_whole(value):
        raise TypeError(f"{name} is {shown(value)}; expected an integer")
    return operator.index(value)  # pyright: ignore[reportArgumentType]


def parse_count(value: object, name: str) -> int | None:
    """Return a count as `int`; None stays None. The argument's `name` is part of the errors.

    Raises `TypeError` if `value` has another type, and `ConfigError` if it is below 1.
    """
    if value is None:
        return None
    count = read_whole(value, name)
    if count < 1:
        raise ConfigError(f"{name} is {count}; expected at least 1, or None")
    return count


def shown(value: object) -> str:
    """Return a value for messages: the first 60 characters of its `repr`, and its type."""
    text = repr(value)
    return f"{text[:60]}{'...' if len(text) > 60 else ''} ({type(value).__name__})"
