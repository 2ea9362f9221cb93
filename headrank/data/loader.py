"""Load the candidate lists of a benchmark, for selection, alignment, reranking and scoring."""

from dataclasses import dataclass
from pathlib import Path

from headrank.data.candidates import CandidateLists, candidate_lists
from headrank.data.collections import Collection
from headrank.data.first_stage import select_queries
from headrank.data.labelled import LabelledList, label
from headrank.data.open_collection import load_collection
from headrank.data.settings import DataSettings
from headrank.errors import ConfigError
from headrank.ranking import Ranking, Run


@dataclass(frozen=True, slots=True)
class BenchmarkData:
    """A loaded benchmark or training set, with its candidate lists and the first-stage run of their candidates."""

    settings: DataSettings
    collection: Collection
    query_ids: tuple[str, ...]  # the requested judged queries; each counts in every mean
    run: Run
    candidates: CandidateLists

    def labelled(self) -> tuple[LabelledList, ...]:
        """Return the candidate lists with the grades of their candidates and the settings' relevance threshold."""
        qrels, threshold = self.collection.qrels, self.settings.relevance_threshold
        return tuple(label(item, qrels.get(item.query.id, {}), threshold) for item in self.candidates.lists)


def load_data(
    settings: DataSettings, cache_dir: Path | None = None, collection: Collection | None = None
) -> BenchmarkData:
    """Open the collection of a benchmark or training set and load its candidate lists.

    Args:
        settings: the collection, first stage, depth and number of queries.
        cache_dir: the folder of BM25 indexes; None: the user's cache folder.
        collection: the collection of `settings`, if it is already open.

    Raises:
        ConfigError: if grades are positive, but none reaches the relevance threshold.
        HeadRankError: from `load_collection` and `candidate_lists` (missing files, unknown ids, malformed lines).
    """
    s = settings
    collection = collection or load_collection(s.collection, title=s.title, qrels=s.qrels)
    queries = select_queries(collection, s.max_queries, s.seed)
    _check_threshold(s, collection)
    candidates = candidate_lists(
        collection,
        kind=s.first_stage,
        depth=s.depth,
        run_path=s.run_path,
        max_queries=s.max_queries,
        seed=s.seed,
        drop_identical_ids=s.drop_identical_ids,
        duplicates=s.duplicates,
        cache_dir=cache_dir,
        bm25=s.bm25,
    )
    run = {
        item.query.id: Ranking.from_scores(item.query.id, item.passage_ids, item.first_stage_scores or ())
        for item in candidates.lists
    }
    return BenchmarkData(s, collection, tuple(query.id for query in queries), run, candidates)


def _check_threshold(settings: DataSettings, collection: Collection) -> None:
    """Raise `ConfigError` if grades are positive but none reaches the threshold."""
    highest = max(max(collection.qrels[query.id].values()) for query in collection.judged_queries)
    if 0 < highest < settings.relevance_threshold:
        raise ConfigError(
            f"data {settings.name}: relevance_threshold is {settings.relevance_threshold}, but the highest grade of "
            f"{settings.collection} is {highest}; expected a threshold from 1 to {highest}"
        )
