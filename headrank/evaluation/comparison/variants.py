"""Group runs into variants. The runs of a variant differ only in their seed.

A variant is named by the settings in which it differs from the others. This module reads and writes no files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from headrank.evaluation.report.formatting import Value
from headrank.evaluation.run_folder import CollectedRun

SEED = "seed"
_PATH_KEYS = "paths."  # paths do not affect results
_MOST_KEYS = 4  # of the configuration in a name, if overrides are equal; with more keys the folder is the clearer name


@dataclass(frozen=True, slots=True)
class Variant:
    """Runs of one configuration with different seeds.

    runs: the runs.
    name: the values, in this variant, of the settings `Variants.keys`.
    """

    runs: tuple[CollectedRun, ...]
    name: tuple[Value, ...]

    def statistics(self, values: Sequence[float | None]) -> tuple[float | None, float | None, int]:
        """Compute mean, sample standard deviation and number of one value per run. None values are left out.

        The mean is None without values, and the standard deviation is None for fewer than two values.
        """
        present = [value for value in values if value is not None]
        spread = stdev(present) if len(present) > 1 else None
        return (fmean(present) if present else None), spread, len(present)


@dataclass(frozen=True, slots=True)
class Variants:
    """All variants, and the settings that name them.

    keys: the short keys of these settings, such as `epochs` for `alignment.epochs`.
    variants: the variants, in the order of their first runs.
    """

    keys: tuple[str, ...]
    variants: tuple[Variant, ...]


def make_variants(runs: Sequence[CollectedRun]) -> Variants:
    """Group runs whose configurations are equal except for the seed and paths. Variants keep the order of the runs.

    A key that is named `seed` and always equals the seed, such as `alignment.seed`, counts as the seed. Runs without a
    configuration and runs with equal seeds are not grouped.

    Variants are named by the overrides that differ between them. If the overrides do not distinguish them, because
    files in `conf/` differ, the differing keys of the configuration are added. If there are too many such keys, or they
    do not distinguish the variants either, the folders of the runs are added instead.
    """
    seeded = _seed_keys(runs)
    groups: dict[Any, list[CollectedRun]] = {}
    for number, run in enumerate(runs):
        rest = {k: v for k, v in run.config.items() if k not in seeded and not k.startswith(_PATH_KEYS)}
        key: Any = repr(sorted(rest.items())) if run.config else number
        if run.seed in [other.seed for other in groups.get(key, [])]:
            key = (key, number)
        groups.setdefault(key, []).append(run)
    members = [tuple(group) for group in groups.values()]
    first = [group[0] for group in members]
    keys = _differing([dict(run.overrides) for run in first], without={SEED})
    names = [tuple(run.overrides.get(key) for key in keys) for run in first]
    headings = _short(keys)
    if len(set(names)) < len(names):
        further = _differing([dict(run.config) for run in first], without=seeded)
        more = [tuple(_text(run.config.get(key)) for key in further) for run in first]
        if not further or len(further) > _MOST_KEYS or len(set(zip(names, more, strict=True))) < len(names):
            further, more = ["folder"], [(str(run.folder),) for run in first]
        names = [name + rest for name, rest in zip(names, more, strict=True)]
        headings += _short(further)
    elif not keys:
        headings, names = ["folder"], [(run.folder.name or str(run.folder),) for run in first]
    return Variants(tuple(headings), tuple(Variant(g, name) for g, name in zip(members, names, strict=True)))


def _seed_keys(runs: Sequence[CollectedRun]) -> set[str]:
    """Keys that follow the seed: named `seed`, and equal to it in every run that has them."""
    keys = {key for run in runs for key in run.config if key == SEED or key.endswith(f".{SEED}")}
    return {key for key in keys if all(run.config[key] == run.seed for run in runs if key in run.config)}


def _differing(settings: Sequence[dict[str, Any]], without: set[str]) -> list[str]:
    """Keys that differ in value or are missing in some of the settings, in order of first appearance."""
    keys = dict.fromkeys(key for one in settings for key in one)
    return [
        key
        for key in keys
        if key not in without
        and not key.startswith(_PATH_KEYS)
        and any(one.get(key) != settings[0].get(key) or (key in one) != (key in settings[0]) for one in settings)
    ]


def _short(keys: Sequence[str]) -> list[str]:
    """The shortest unique suffix of each key, in whole parts."""
    result = []
    for key in keys:
        parts = key.split(".")
        endings = [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]
        others = [other for other in keys if other != key]
        result.append(next(e for e in endings if e == key or not any(f".{o}".endswith(f".{e}") for o in others)))
    return result


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
