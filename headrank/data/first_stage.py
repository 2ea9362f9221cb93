"""Retrieve first-stage rankings from a run file, the collection's own lists (`scoreddocs`) or BM25."""

import logging
import random
from collections.abc import Container, Sequence
from enum import StrEnum
from pathlib import Path

from headrank.data.bm25.index import BM25Parameters, bm25_run
from headrank.data.collections import Collection
from headrank.data.parsing import id_fault, opened, shown
from headrank.data.trec import Duplicates, read_run
from headrank.errors import ConfigError, FormatError, MissingFileError
from headrank.io.cache import cache_folder
from headrank.ranking import Query, Ranking, Run

_log = logging.getLogger(__name__)

BM25_DEPTH = 1000  # passages per query if no depth is given, as in TREC and BEIR runs
_FIRST_IDS = 3  # query ids named in a message


class FirstStage(StrEnum):
    """The source of first-stage rankings.

    `run` is a TREC run file, `scoreddocs` the rankings that the collection itself provides. `auto` is the given run
    file or the run file in the collection's folder, else the candidates of a file of requests, else BM25.
    """

    AUTO = "auto"
    BM25 = "bm25"
    RUN = "run"
    SCOREDDOCS = "scoreddocs"


def select_queries(
    collection: Collection,
    max_queries: int | None = None,
    seed: int = 0,
    *,
    among: Container[str] | None = None,
) -> tuple[Query, ...]:
    """Select the judged queries of a collection, or a random sample of them.

    Args:
        collection: the collection.
        max_queries: the size of the sample; None: all judged queries.
        seed: the seed of the sample. For one seed, smaller samples are subsets of larger ones.
        among: the ids of the queries to select from, judged or not; None: the judged queries.

    Returns:
        The queries, in the collection's order.

    Raises:
        FormatError: if no query is judged, or the id of a query cannot be written to a run file.
        ConfigError: if `max_queries` is below 1.
    """
    judged = collection.judged_queries
    if among is not None:
        judged = tuple(query for query in collection.queries.values() if query.id in among)
    elif not judged:
        raise FormatError(
            f"{collection.name}: expected judged queries, none of its {len(collection.queries)} queries has a judgement"
        )
    for query in judged:
        fault = id_fault(query.id)
        if fault:
            raise FormatError(
                f"{collection.name}: query id {shown(query.id)} {fault}; expected an id that a run file can contain"
            )
    if max_queries is None:
        return judged
    if max_queries < 1:
        raise ConfigError(f"max_queries is {max_queries}; expected 1 or more, or null for all")
    shuffled = list(range(len(judged)))
    random.Random(seed).shuffle(shuffled)
    return tuple(judged[i] for i in sorted(shuffled[:max_queries]))


def first_stage_run(
    collection: Collection,
    *,
    kind: FirstStage | str,
    depth: int | None = None,
    run_path: str | Path | None = None,
    max_queries: int | None = None,
    seed: int = 0,
    drop_identical_ids: bool = False,
    duplicates: Duplicates | str = Duplicates.ERROR,
    cache_dir: Path | None = None,
    bm25: BM25Parameters | None = None,
) -> dict[str, Ranking]:
    """Retrieve the first-stage rankings of the judged queries.

    Args:
        collection: the collection.
        kind: the source, see `FirstStage`; the log names the choice of `auto`.
        depth: passages per query; None: the whole run (1,000 passages with BM25).
        run_path: a run file, or the name of a run of the local folder; None: the folder's only run.
        max_queries: the size of a random sample of the queries; None: all.
        seed: the seed of that sample.
        drop_identical_ids: whether candidates with the query's id are dropped (arguana, quora) before cutting to
            `depth`.
        duplicates: how `read_run` treats a passage that a run file repeats for a query.
        cache_dir: the folder of BM25 indexes and rankings; None: the user's cache folder.
        bm25: the parameters of BM25.

    Returns:
        Query id -> ranking, in the collection's order. Queries for which nothing was found are absent.

    Raises:
        ConfigError: if the kind is unknown, the depth is below 1, or the collection has no such first stage.
        FormatError: if a file is malformed, or the first stage has no passage for any query.
    """
    queries = select_queries(collection, max_queries, seed)
    run = retrieve(collection, kind, queries, depth, run_path, duplicates, cache_dir, bm25 or BM25Parameters())
    return {q.id: cut for q in queries if (cut := cut_ranking(run, q, depth, drop_identical_ids)[0]).results}


def check_depth(depth: int | None) -> None:
    """Raise `ConfigError` if the depth (candidates per query) is below 1. None (all candidates) is valid."""
    if depth is not None and depth < 1:
        raise ConfigError(f"depth is {depth}; expected 1 or more")


def retrieve(
    collection: Collection,
    kind: FirstStage | str,
    queries: Sequence[Query],
    depth: int | None,
    run_path: str | Path | None,
    duplicates: Duplicates | str,
    cache_dir: Path | None,
    bm25: BM25Parameters,
) -> Run:
    """Retrieve first-stage rankings without limiting them to `depth` passages; `cut_ranking` does that.

    A run file may contain further queries. See `first_stage_run` for the arguments and the errors.
    """
    check_depth(depth)
    kind = _resolved(collection, kind, run_path)
    expected = "the same query ids"
    if kind is FirstStage.BM25:
        # one more, so that `depth` passages remain when the passage with the query's id is dropped
        bm25_depth = BM25_DEPTH + 1 if depth is None else depth + 1
        run = bm25_run(collection, queries, bm25_depth, bm25, cache_folder() if cache_dir is None else cache_dir)
        origin, expected = f"{collection.name}: BM25 ({bm25.language})", "the texts' language as bm25.language"
    elif kind is FirstStage.SCOREDDOCS:
        origin = f"{collection.name}: its scoreddocs"
        run = collection.scoreddocs()
        if run is None:
            raise ConfigError(
                f"first_stage is scoreddocs, but {collection.name} has none; use bm25, or run with a run file"
            )
    else:
        path = _run_file(collection, run_path)
        origin = f"{path}: the run"
        run = read_run(path, duplicates=duplicates)
    _check_found(origin, queries, run, expected)
    return run


def _check_found(origin: str, queries: Sequence[Query], run: Run, expected: str) -> None:
    """Warn of queries without a passage. Raise `FormatError` if no query has one."""
    found = [query_id for query_id, ranking in run.items() if ranking.results]
    missing = [query.id for query in queries if query.id not in run or not run[query.id].results]
    if len(missing) == len(queries):
        raise FormatError(
            f"{origin} has {len(found)} queries with passages{_first(found)}, none of the {len(queries)} queries"
            f"{_first(missing)}; expected {expected}"
        )
    if missing:
        _log.warning(
            "%s: no passage for %d of %d queries%s; metrics count them as 0",
            *(origin, len(missing), len(queries), _first(missing)),
        )


def _first(ids: Sequence[str]) -> str:
    """The first ids in brackets; nothing if there are none."""
    named = [shown(one) for one in ids[:_FIRST_IDS]]
    return f" ({', '.join([*named, '...'] if len(ids) > _FIRST_IDS else named)})" if named else ""


def _resolved(collection: Collection, kind: FirstStage | str, run_path: str | Path | None) -> FirstStage:
    """The kind of first stage, with `auto` replaced by the kind for this collection."""
    if kind not in list(FirstStage):
        raise ConfigError(f"first_stage is {shown(kind)}; expected one of {', '.join(FirstStage)}")
    kind = FirstStage(kind)
    if kind is not FirstStage.AUTO:
        if run_path is not None and kind is not FirstStage.RUN:
            raise ConfigError(f"run_path is {run_path}, but first_stage is {kind.value}; expected first_stage=run")
        return kind
    if run_path is not None or collection.runs:
        found, origin = FirstStage.RUN, f"the run {_run_file(collection, run_path)}"
    elif collection.has_own_lists:
        found, origin = FirstStage.SCOREDDOCS, "the candidates of its requests"
    else:
        found, origin = FirstStage.BM25, "BM25 (no run file given)"
    _log.info("%s: first stage: %s", collection.name, origin)
    return found


def _run_file(collection: Collection, run_path: str | Path | None) -> Path:
    runs = collection.runs
    listed = f"run files of {collection.name}: {', '.join(runs) or 'none'}"
    if run_path is None:
        if len(runs) != 1:
            raise ConfigError(
                f"run_path is null, and the collection has {len(runs)} run files; expected run_path or one run file "
                f"({listed})"
            )
        return next(iter(runs.values()))
    path = Path(run_path).expanduser()
    with opened(path):
        is_file, exists = path.is_file(), path.exists()
    if is_file:
        return path
    if str(run_path) in runs:
        return runs[str(run_path)]
    if exists:
        raise FormatError(f"{path}: is not a file; expected a run file ({listed})")
    raise MissingFileError(f"{path}: no such run file ({listed})")


def cut_ranking(run: Run, query: Query, depth: int | None, drop_identical_ids: bool) -> tuple[Ranking, int]:
    """Cut the ranking of one query to its top `depth` passages.

    Args:
        run: query id -> ranking.
        query: the query.
        depth: the number of passages; None: all.
        drop_identical_ids: whether a passage whose id equals the query's is dropped; later passages move up.

    Returns:
        The ranking, with ranks from 1 (empty if the run does not contain the query), and the number of dropped passages
        among the first `depth`.
    """
    ranking = run.get(query.id)
    if ranking is None:
        return Ranking(query.id, ()), 0
    dropped = sum(drop_identical_ids and result.id == query.id for result in ranking.results[:depth])
    kept = [result for result in ranking.results if not (drop_identical_ids and result.id == query.id)][:depth]
    return Ranking.from_scores(query.id, [result.id for result in kept], [result.score for result in kept]), dropped
