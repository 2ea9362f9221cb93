"""Folder names of a sweep's jobs: readable, the same each time the sweep starts, different for different overrides."""

import hashlib
import re
from collections.abc import Collection, Sequence

LONGEST = 120  # characters: below 255 bytes, the usual limit of a file system, and still readable
# Keys that the path of the run folder already shows. `experiment` is among them unless it is swept or `name` is given.
SHOWN_BY_PATH = frozenset(("sweep", "experiment", "name", "paths.output", "paths.cache"))
_KEY = re.compile(r"[A-Za-z0-9_.]+", re.ASCII)
_VALUE = re.compile(r"[A-Za-z0-9_.+-]+", re.ASCII)


def job_name(overrides: Sequence[str], swept: Collection[str] = ()) -> str:
    """Return the name of the folder of a job, such as `ablation-no_entropy__seed-1`.

    Parts have the form `key-value` and are separated by `__`. The name contains only letters, digits and `_.+-`, so it
    needs no quotes in an override. A name that is too long is cut. A name that is cut or ambiguous ends with a hash of
    the exact overrides. Keys that the path of the run folder shows (`SHOWN_BY_PATH`) are left out unless they are
    swept; `experiment` is not left out if `name` is overridden. If no part is left, the name is `default`.

    Args:
        overrides: the overrides of the job.
        swept: the keys that the sweep varies; they come first in the name.
    """
    pairs = [_pair(override) for override in overrides]
    named = any(key == "name" for key, _ in pairs)
    omitted = (SHOWN_BY_PATH - {"experiment"} if named else SHOWN_BY_PATH) - set(swept)
    exact = sorted((pair for pair in pairs if pair[0] not in omitted), key=lambda pair: (pair[0] not in swept, pair))
    shown = "__".join(f"{_plain(key)}-{_plain(value)}" for key, value in exact)
    if all(map(_is_plain, exact)) and len(shown) <= LONGEST:
        return shown or "default"
    digest = hashlib.sha256(repr(exact).encode()).hexdigest()[:8]
    return f"{shown[: LONGEST - len(digest) - 1]}-{digest}"


def _pair(override: str) -> tuple[str, str]:
    key, _, value = override.lstrip("+").partition("=")
    return ("without", key[1:]) if key.startswith("~") and value in ("", "null") else (key, value)


def _is_plain(pair: tuple[str, str]) -> bool:
    """Whether key and value can be read back from the name."""
    split = any("__" in part or part.startswith("_") or part.endswith("_") for part in pair)
    return not split and bool(_KEY.fullmatch(pair[0]) and _VALUE.fullmatch(pair[1]))


def _plain(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text.strip("[]{}'\" ~/").replace(",", "+"), flags=re.ASCII)
