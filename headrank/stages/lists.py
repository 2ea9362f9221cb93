"""The data a stage works on: a collection's candidate lists and first-stage run, loaded once per process."""

import logging
from dataclasses import dataclass
from pathlib import Path

from headrank.data import CandidateLists, Collection, first_stage_run, lists_from_run, load_collection, select_queries
from headrank.experiment import DataSettings
from headrank.ranking import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BenchmarkData:
    """A benchmark, loaded: the first stage's run, cut to the candidates, and those candidates as lists."""

    settings: DataSettings
    collection: Collection
    query_ids: tuple[str, ...]  # the judged queries asked for; each counts in every mean
    run: Run
    candidates: CandidateLists


class DataLoader:
    """Loads benchmarks and training lists by their settings; what was loaded is kept."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._loaded: dict[DataSettings, BenchmarkData] = {}

    def load(self, settings: DataSettings) -> BenchmarkData:
        """The data of these settings. Raises what the data package raises: missing files, unknown ids, bad lines."""
        if settings not in self._loaded:
            self._loaded[settings] = self._load(settings)
        return self._loaded[settings]

    def _load(self, s: DataSettings) -> BenchmarkData:
        collection = load_collection(s.collection, title=s.title)
        queries = select_queries(collection, s.max_queries, s.seed)
        run = first_stage_run(
            collection,
            kind=s.first_stage,
            depth=s.depth,
            run_path=s.run_path,
            max_queries=s.max_queries,
            seed=s.seed,
            drop_identical_ids=s.drop_identical_ids,
            cache_dir=self.cache,
        )
        candidates = lists_from_run(collection, run, depth=s.depth, queries=queries)
        logger.info("%s: %d lists of up to %d candidates", s.name, len(candidates), s.depth)
        return BenchmarkData(s, collection, tuple(query.id for query in queries), run, candidates)
