"""The data a stage works on: a collection's candidate lists and first-stage run, loaded once per process."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrank.data import CandidateLists, Collection, first_stage_run, lists_from_run, load_collection, select_queries
from headrank.experiment import DataSettings
from headrank.ranking import CandidateList, Qrels, Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BenchmarkData:
    """A benchmark, loaded: the first stage's run, cut to the candidates, and those candidates as lists."""

    settings: DataSettings
    collection: Collection
    query_ids: tuple[str, ...]  # the judged queries asked for; each counts in every mean
    run: Run
    candidates: CandidateLists


@dataclass(frozen=True, slots=True)
class LabelledData:
    """The labelled lists of one or more collections, for selection and alignment."""

    parts: tuple[BenchmarkData, ...]

    @property
    def name(self) -> str:
        """The parts' names."""
        return " + ".join(part.settings.name for part in self.parts)

    @property
    def lists(self) -> list[CandidateList]:
        """All candidate lists, part by part."""
        return [item for part in self.parts for item in part.candidates.lists]

    @property
    def qrels(self) -> Qrels:
        """The judgements of the parts' queries."""
        return {q: part.collection.qrels[q] for part in self.parts for q in part.query_ids}


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

    def labelled(self, settings: Sequence[DataSettings]) -> LabelledData:
        """The labelled lists of all these settings. Raises `ValueError` where two parts have a query id in common."""
        parts = tuple(self.load(one) for one in settings)
        seen: dict[str, str] = {}
        for part in parts:
            for query_id in part.query_ids:
                other = seen.setdefault(query_id, part.settings.name)
                if other != part.settings.name:
                    raise ValueError(f"query id {query_id!r} stands in {other} and in {part.settings.name}")
        return LabelledData(parts)

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
