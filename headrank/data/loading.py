"""From data settings to candidate lists: what selection, alignment, reranking and scoring all read."""

import logging
from dataclasses import dataclass
from pathlib import Path

from headrank.data.collections import Collection
from headrank.data.first_stage import CandidateLists, first_stage_run, lists_from_run, select_queries
from headrank.data.settings import DataSettings
from headrank.data.sources import load_collection
from headrank.ranking import Run

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BenchmarkData:
    """A benchmark, loaded: the first stage's run, cut to the candidates, and those candidates as lists."""

    settings: DataSettings
    collection: Collection
    query_ids: tuple[str, ...]  # the judged queries asked for; each counts in every mean
    run: Run
    candidates: CandidateLists


def load_data(
    settings: DataSettings, cache_dir: Path | None = None, collection: Collection | None = None
) -> BenchmarkData:
    """The data of these settings; BM25 indexes are kept under `cache_dir`, by default the user's cache folder.

    collection: the settings' own, where it is open already.

    Raises what `load_collection` and `first_stage_run` raise: missing files, unknown ids, bad lines.
    """
    s = settings
    collection = collection or load_collection(s.collection, title=s.title)
    queries = select_queries(collection, s.max_queries, s.seed)
    run = first_stage_run(
        collection,
        kind=s.first_stage,
        depth=s.depth,
        run_path=s.run_path,
        max_queries=s.max_queries,
        seed=s.seed,
        drop_identical_ids=s.drop_identical_ids,
        cache_dir=cache_dir,
    )
    candidates = lists_from_run(collection, run, depth=s.depth, queries=queries)
    _log.info("%s: %d lists of up to %d candidates", s.name, len(candidates), s.depth)
    return BenchmarkData(s, collection, tuple(query.id for query in queries), run, candidates)
