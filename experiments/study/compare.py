"""List the files that differ between two run folders of one experiment.

Files with times, memory or the run's name are not compared. All other files must be equal byte by byte.
"""

import json
from fnmatch import fnmatch
from pathlib import Path

NOT_COMPARED = {
    "status.json": "the time, and the seconds of each stage",
    "run.log": "the lines of every start, with times",
    "facts.json": "seconds and peak memory of each pass",
    "report.*": "seconds and peak memory among its facts, and the configuration",
    "figures/latency.svg": "seconds",
    "config.yaml": "the run's name and folder",
    ".hydra/*": "the run's name and folder, the working directory",
}
"""Glob pattern -> the content that differs between runs."""

_CONTEXTS = ".contexts.json"  # the scores in context order, with the facts of the pass (seconds, memory)
_RECORD = ".key"  # an artifact's key, with checksums and times of change of its files


def differing_files(one: Path, other: Path) -> list[str]:
    """Return the relative names of the compared files that differ or are missing in one folder.

    Raises `ValueError` if there is nothing to compare.
    """
    contents, others = _contents(one), _contents(other)
    if not contents:
        raise ValueError(f"{one}: expected files to compare, found none")
    return sorted(name for name in contents.keys() | others.keys() if contents.get(name) != others.get(name))


def _contents(folder: Path) -> dict[str, bytes]:
    names = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: _content(path)
        for name, path in names.items()
        if not any(fnmatch(name, pattern) for pattern in NOT_COMPARED)
    }


def _content(path: Path) -> bytes:
    """A file's bytes, without the facts of a pass (score files), times and score checksums (key files)."""
    if not path.name.endswith((_CONTEXTS, _RECORD)):
        return path.read_bytes()
    content = json.loads(path.read_bytes())
    if path.name.endswith(_CONTEXTS):
        del content["facts"]
    else:
        files = {name: sums for name, sums in content["files"].items() if not name.endswith(_CONTEXTS)}
        content["files"] = {name: {**sums, "mtime_ns": None} for name, sums in files.items()}
    return json.dumps(content).encode()
