"""Define settings as frozen dataclasses that pydantic checks on construction.

    @settings
    class ScorerSettings:
        order: Annotated[str, one_of(Order)] = "first_stage"
        batch_size: Annotated[int, Ge(1)] = 64

Annotations hold types and ranges. `__post_init__` checks only contradictions between fields and raises `wrong(...)`.
Checks are strict: `True`, `1.5` and `"1"` are not integers, NaN and infinity are not numbers. An integer is accepted as
a number, a list as a tuple, a member of a `StrEnum` as its text. Every error is a `ConfigError`.
"""

import difflib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import field, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar, dataclass_transform

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BeforeValidator, ConfigDict, PlainValidator, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from headrank.errors import ConfigError

__all__ = [
    "Ge", "Gt", "Le", "Listed", "Lt", "Problem", "SettingsError", "meant", "one_of", "one_of_or_object", "settings",
    "with_target", "without_target", "wrong",
]  # fmt: skip

T = TypeVar("T")

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "names with values",
    "mapping_type": "names with values",
}
"""Pydantic's types of errors -> what is expected."""

BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


class Problem(NamedTuple):
    """A wrong value of a setting.

    key: the setting's key below the owner (see `SettingsError`); empty for the owner itself.
    found: the value as text; empty if there is none.
    expected: which values are expected; if `found` is empty, the whole message.
    """

    key: str
    found: str
    expected: str


class SettingsError(ConfigError):
    """The error of settings with wrong values. `owner`: the name of their class, or their key in the configuration."""

    def __init__(self, owner: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(owner, problems)
        self.owner, self.problems = owner, problems

    def under(self, owner: str) -> "SettingsError":
        """Return an error with the same problems and another owner."""
        return SettingsError(owner, self.problems)

    def __str__(self) -> str:
        lines = []
        for key, found, expected in self.problems:
            name = ".".join(part for part in (self.owner, key) if part)
            lines.append(f"{name} is {found}, expected {expected}" if found else f"{name}: {expected}")
        return "; ".join(lines)


def wrong(key: str, value: Any, expected: str) -> SettingsError:
    """Return the error of a wrong value, to be raised by `__post_init__` or a validator.

    key: the field's name; empty for a validator, which does not know it.
    value: the wrong value.
    expected: which values are expected, as text.
    """
    return SettingsError("", (Problem(key, _shown(value), expected),))


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def settings(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass whose constructor raises `SettingsError` for unknown names and wrong values.

    Instances are picklable, equal if their values are equal, and hashable if their values are hashable.
    """
    checked_class: Any = pydantic_dataclass(frozen=True, config=STRICT)(cls)
    checked = checked_class.__init__

    @wraps(checked)
    def __init__(self: Any, *args: Any, **values: Any) -> None:
        try:
            checked(self, *args, **values)
        except ValidationError as error:
            raise _translated(checked_class, error) from None

    checked_class.__init__ = __init__
    return checked_class


def one_of(choices: Iterable[str]) -> AfterValidator:
    """Return a validator for annotations, which accepts only the texts in `choices`.

    choices: the texts, or an enumeration, whose values are the texts.
    """
    known = [str(choice) for choice in choices]

    def check(value: str) -> str:
        if value not in known:
            raise wrong("", value, f"one of {', '.join(known)}{meant(value, known)}")
        return value

    return AfterValidator(check)


def one_of_or_object(choices: Iterable[str], protocol: type) -> PlainValidator:
    """Return a validator for annotations, which accepts the texts in `choices` and custom objects.

    protocol: such an object must be an instance of a dataclass, with the attributes of this protocol and a `__call__`
        method.
    """
    known, named = [str(choice) for choice in choices], one_of(choices)

    def check(value: Any) -> Any:
        if isinstance(value, str):
            return named.func(str(value))  # type: ignore[call-arg]
        if _is_object(value) and isinstance(value, protocol):
            return value
        parts = ", ".join(sorted(protocol.__annotations__))
        custom = f"an instance of a frozen dataclass with {parts} and a __call__ method"
        raise wrong("", value, f"one of {', '.join(known)}, or {custom}")

    return PlainValidator(check)


def with_target(value: Any) -> Any:
    """Convert an instance of a dataclass to plain values for JSON. Other values are returned unchanged.

    The result is a dict of its fields and of `_target_`, the path of its class.
    """
    if not _is_object(value):
        return value
    path = f"{type(value).__module__}.{type(value).__qualname__}"
    return {"_target_": path} | {one.name: getattr(value, one.name) for one in fields(value)}


def without_target(value: Any, protocol: type) -> Any:
    """Create the object that `with_target` converted, from values in a file.

    Values that are not a mapping are returned unchanged. A file is not trusted, so no module is imported: the class is
    looked up in the modules that are already imported. Raises `ConfigError` if it is not found, or if it is no
    dataclass with the attributes of `protocol`.
    """
    if not isinstance(value, Mapping):
        return value
    rest = dict(value)
    module, _, name = str(rest.pop("_target_", "")).rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    parts = {*protocol.__annotations__, "__call__"}
    if (
        not isinstance(found, type)
        or not is_dataclass(found)
        or parts - {one.name for one in fields(found)} - {key for c in found.__mro__ for key in vars(c)}
    ):
        raise ConfigError(
            f"_target_ is {module}.{name}, expected an imported dataclass with {', '.join(sorted(parts))}; import "
            f"{module or 'its module'} first"
        )
    return found(**rest)


def _is_object(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Listed: TypeAlias = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
"""`Listed[int]`: a tuple, or a list that becomes one."""


def meant(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean NAME?` with the known name closest to `name`; an empty text if no name is close."""
    near = difflib.get_close_matches(name, sorted(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _translated(cls: Any, error: ValidationError) -> SettingsError:
    known = [one.name for one in fields(cls) if one.init]
    problems: list[Problem] = []
    for one in error.errors(include_url=False):
        first, *rest = one["loc"] or ("",)
        if isinstance(first, int) and first < len(known):  # a positional argument
            first = known[first]
        key = ".".join(map(str, (first, *rest)))
        inner = one.get("ctx", {}).get("error")
        if one["type"] == "unexpected_keyword_argument":
            problems.append(Problem(key, "", f"unknown; expected one of {', '.join(known)}{meant(key, known)}"))
        elif one["type"] == "missing" or one["type"].startswith("missing_"):
            problems.append(Problem(key, "", "expected a value, found none"))
        elif isinstance(inner, SettingsError):
            problems += [p._replace(key=".".join(filter(None, (key, p.key)))) for p in inner.problems]
        elif inner is not None:
            problems.append(Problem(key, "", str(inner)))
        else:
            problems.append(Problem(key, _shown(one["input"]), _expectation(one)))
    return SettingsError(cls.__name__, tuple(problems))


def _expectation(error: Any) -> str:
    bounds = [f"{word} {error['ctx'][name]:g}" for name, word in BOUNDS.items() if name in error.get("ctx", {})]
    return bounds[0] if bounds else EXPECTED.get(error["type"]) or str(error["msg"]).removeprefix("Input should be ")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
