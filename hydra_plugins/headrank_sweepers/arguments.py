"""Rewrite a sweep's command line for this project's sweepers before Hydra reads it.

Hydra first composes one configuration for the whole sweep, without the swept values. For `-m +experiment=A,B
alignment.epochs=1` that configuration has no experiment and may lack `alignment.epochs`. Hydra would then refuse the
command line, although each job has the key.
"""

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

_SHOWING = {"--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help", "--resolve", "-r", "--run"}
_SWEEP_KEYS = ("hydra", "paths")  # needed in the configuration of the sweep itself


def for_jobs(arguments: Sequence[str]) -> list[str]:
    """Rewrite a command line so that values that only jobs need stay out of the configuration of the sweep.

    - `a.b=1` becomes `a.b=choice(1)`, a sweep over one value. Hydra leaves sweeps to the sweeper, and `JobSweeper`
      turns it back into the plain value.
    - `~a.b` becomes an entry of `hydra.sweeper.deleted`.
    - Without `sweep=` and `hydra/sweeper=`, the sweeper `study` is added.
    - `-m` is moved to the front, because Hydra refuses it between overrides.

    A command line without a sweep, or one that only prints, is otherwise unchanged.
    """
    arguments = sorted(arguments, key=lambda word: word not in ("-m", "--multirun"))
    if not _sweeps(arguments) or any(word.split("=")[0] in _SHOWING for word in arguments):
        return list(arguments)
    parser = OverridesParser.create()
    kept: list[str] = []
    deleted: list[str] = []
    for word in arguments:
        override = _parsed(parser, word)
        if override is None or "." not in override.key_or_group or override.key_or_group.split(".")[0] in _SWEEP_KEYS:
            kept.append(word)
        elif override.type == OverrideType.DEL and "=" not in word:
            deleted.append(override.key_or_group)
        elif override.type == OverrideType.CHANGE and not override.is_sweep_override():
            kept.append(_choice(parser, override, word))
        else:
            kept.append(word)
    if deleted:
        kept.append(f"hydra.sweeper.deleted=[{','.join(deleted)}]")
    if not any(word.lstrip("+").startswith(("sweep=", "hydra/sweeper=")) for word in arguments):
        kept.append("hydra/sweeper=study")  # a file of conf/sweep chooses its sweeper
    return kept


def plain(parser: OverridesParser, override: Override) -> Override:
    """Turn a sweep over one value, `a.b=choice(1)`, into the override `a.b=1`. Return other overrides unchanged."""
    if not override.is_choice_sweep():
        return override
    values = list(override.sweep_string_iterator())
    return parser.parse_override(f"{override.get_key_element()}={values[0]}") if len(values) == 1 else override


def _sweeps(arguments: Sequence[str]) -> bool:
    return any(
        word in ("-m", "--multirun", "hydra.mode=MULTIRUN") or word.lstrip("+").startswith("sweep=")
        for word in arguments
    )


def _parsed(parser: OverridesParser, word: str) -> Override | None:
    try:
        return None if word.startswith("-") else parser.parse_override(word)
    except HydraException:  # Hydra reports the error later
        return None


def _choice(parser: OverridesParser, override: Override, word: str) -> str:
    key, _, value = word.partition("=")
    swept = f"{key}=choice({value})"
    parsed = _parsed(parser, swept)
    if parsed is None or not parsed.is_sweep_override():
        return word
    return swept if list(parsed.sweep_string_iterator()) == [override.get_value_element_as_str()] else word
