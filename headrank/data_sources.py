"""Define configuration keys that change the data of several benchmarks or training sets at once.

    'benchmarks=[local]' 'benchmarks.local.collection=[/data/a,/data/b]'     a benchmark per collection
    "first_stage_runs='/runs/{name}.trec'"                                   TREC runs as the first stages
    "requests='/data/requests/{name}.jsonl'"                                 files that replace collections

`{name}` is the name of a benchmark or training set. Requests are queries with their candidates, as JSON Lines
(`headrank/data/requests.py`).
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
    """Split each entry whose `collection` is a list into one entry per collection.

    Each new entry gets the collection's name (`collection_name`). Other entries are unchanged.

    Args:
        section: the configured data sets (name -> values); changed in place.
        key: the configuration key of `section`, `data` or `benchmarks`, for error messages.

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
    """Set the first stage of each benchmark to the TREC run file that `pattern` names.

    Args:
        benchmarks: the benchmarks. One that already has a `run_path` is returned unchanged.
        pattern: the path of the run file, with `{name}` for the benchmark's name; None: nothing changes.

    Returns:
        The benchmarks, in the same order.

    Raises:
        ConfigError: if several benchmarks would share a file, because the pattern has no `{name}`.
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
    """Replace the collection of each data set by the file of requests that `pattern` names.

    A data set whose file does not exist keeps its collection, and the log reports it; one with generated queries keeps
    it too. The original collection still
    provides the judgements, unless the data set's `qrels` is set. The candidates of the requests become the first stage
    (`auto`), unless the data set has a `run_path`.

    Args:
        train: the training sets.
        benchmarks: the benchmarks.
        pattern: the path of the file, with `{name}` for the data set's name; None: nothing changes.

    Returns:
        The training sets and the benchmarks, in the same order.

    Raises:
        ConfigError: if several data sets would share a file, or no file exists.
    """
    if pattern is None:
        return train, benchmarks
    every = [one for one in (*train, *benchmarks) if one.generated is None]
    _check_pattern("requests", pattern, every)
    files = {one.name: pattern.replace("{name}", one.name) for one in every}
    if not any(Path(file).expanduser().is_file() for file in files.values()):
        raise wrong("requests", pattern, f"at least one of the files {', '.join(files.values())}")

    def replaced(one: DataSettings) -> DataSettings:
        if one.generated is not None:
            return one
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
