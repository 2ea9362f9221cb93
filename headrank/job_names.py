"""Names of the folders of a sweep's jobs: what was overridden, readable, the same each time, fit for any file system.

Registered in `run.py` as the resolver `job_name` of `hydra.sweep.subdir`.
"""

import hashlib
import re
from collections.abc import Sequence

LONGEST = 120  # characters: below 255 bytes, a file system's usual limit, and short enough to be read


def job_name(overrides: Sequence[str], exclude: Sequence[str] = ()) -> str:
    """`ablation=no_entropy,seed=1`, ordered by key, without the keys in `exclude`; `default` where none is left.

    What a file name should not hold (`/`, brackets, blanks, commas within a value) becomes `-` or `+`, and a name that
    is too long is cut; a hash at the end then keeps it apart from others.
    """
    pairs = sorted(override.lstrip("+").partition("=")[::2] for override in overrides)
    exact = [(key, value) for key, value in pairs if key not in exclude]
    shown = ",".join(f"{_plain(key)}={_plain(value)}" for key, value in exact)
    wanted = ",".join(f"{key}={value}" for key, value in exact)
    if shown == wanted and len(shown) <= LONGEST:
        return shown or "default"
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:8]
    return f"{shown[: LONGEST - len(digest) - 1]}-{digest}"


def _plain(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text.strip("[]{}'\" ").replace(",", "+"), flags=re.ASCII).strip("-")
