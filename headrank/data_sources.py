"""Where the data sets of an experiment come from: several collections for one entry, and files by pattern.

    'benchmarks=[local]' 'benchmarks.local.collection=[/data/a,/data/b]'     a benchmark for each
    "first_stage_runs='/runs/{name}.trec'"                                   runs that replace first stages
    "requests='/data/requests/{name}.jsonl'"                                 requests that replace collections

`{name}` is the name of a benchmark or training set.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from headrank.data import DataSettings, FirstStage, collection_name
from headrank.settings import wrong

logger = logging.getLogger("headrank")


def one_per_collection(section: DictConfig, key: str) -> None:
    """Replace each entry with a list of collections by an entry for each, named after its collection.

    Args:
        section: the chosen entries of `key` (name -> values); changed in place.
        key: `data` or `benchmarks`.

    Raises:
        ConfigError: if a list is empty or holds anything but names of collections.
    """
    entries = {str(name): section[name] for name in section}
    for name in entries:
        del section[name]
    for name, entry in entries.items():
        found = entry.get("collection")
        if not isinstance(found, ListConfig):
            section[name] = entry
            continue
        if not found or not all(isinstance(one, str) and one for one in found):
            raise wrong(f"{key}.{name}.collection", list(found), "a collection, or a list of collections")
        for i, one in enumerate(found):
            section[f"{name}[{i}]"] = copy.deepcopy(entry)
            section[f"{name}[{i}]"].update({"collection": one, "name": collection_name(one)})


def with_runs(benchmarks: tuple[DataSettings, ...], pattern: str | None) -> tuple[DataSettings, ...]:
    """The benchmarks with the TREC runs of `pattern` as first stage.

    A benchmark with a `run_path` keeps it. Raises `ConfigError` if several benchmarks would share a file.
    """
    if pattern is None:
        return benchmarks
    _check_pattern("first_stage_runs", pattern, [one for one in benchmarks if one.run_path is None])
    return tuple(
        one
        if one.run_path is not None
        else replace(one, first_stage="run", run_path=pattern.replace("{name}", one.name))
        for one in benchmarks
    )


def with_requests(
    train: tuple[DataSettings, ...], benchmarks: tuple[DataSettings, ...], pattern: str | None
) -> tuple[tuple[DataSettings, ...], tuple[DataSettings, ...]]:
    """Training sets and benchmarks with the requests of `pattern` in place of their collections.

    A set whose file does not exist keeps its collection, which the log reports. A set with requests takes judgements
    from its collection, unless its `qrels` names others, and keeps its `run_path`.

    Raises `ConfigError` if several sets would share a file, or no file exists.
    """
    if pattern is None:
        return train, benchmarks
    every = (*train, *benchmarks)
    _check_pattern("requests", pattern, every)
    files = {one.name: pattern.replace("{name}", one.name) for one in every}
    if not any(Path(file).expanduser().is_file() for file in files.values()):
        raise wrong("requests", pattern, f"at least one of the files {', '.join(files.values())}")

    def replaced(one: DataSettings) -> DataSettings:
        file = files[one.name]
        if not Path(file).expanduser().is_file():
            logger.info("%s: no requests in %s; its collection is %s", one.name, file, one.collection)
            return one
        first_stage = FirstStage.AUTO if one.run_path is None else one.first_stage
        return replace(one, collection=file, first_stage=str(first_stage), qrels=one.qrels or one.collection)

    return tuple(map(replaced, train)), tuple(map(replaced, benchmarks))


def _check_pattern(key: str, pattern: str, sets: Sequence[DataSettings]) -> None:
    names = [one.name for one in sets]
    again = next((name for name in names if names.count(name) > 1), None)
    if again is not None and "{name}" in pattern:
        raise wrong(
            key, pattern, f"a file for each data set, and two are named {again}; rename one with <set>.name=NAME"
        )
    if "{name}" not in pattern and len(sets) > 1:
        raise wrong(key, pattern, f"a pattern with {{name}}, since there are {len(sets)} data sets")
