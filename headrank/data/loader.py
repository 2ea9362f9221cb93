"""Load the candidate lists of a benchmark, for selection, alignment, reranking and scoring."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headrank.data.candidates import CandidateLists, lists_from_run
from headrank.data.collections import Collection
from headrank.data.first_stage import retrieve, select_queries
from headrank.data.generated import generated_lists
from headrank.data.labelled import LabelledList, label
from headrank.data.open_collection import load_collection
from headrank.data.settings import DataSettings
from headrank.data.teacher import check_targets, keep_scored, read_teacher, teacher_grades, teacher_scores
from headrank.errors import ConfigError
from headrank.ranking import Query, Ranking, Run


@dataclass(frozen=True, slots=True)
class BenchmarkData:
    """A loaded benchmark or training set, with its candidate lists and the first-stage run of their candidates."""

    settings: DataSettings
    collection: Collection
    query_ids: tuple[str, ...]  # the requested queries; each counts in every mean
    run: Run
    candidates: CandidateLists
    teacher: Run | None = None  # the run that `settings.labels` names

    def labelled(self) -> tuple[LabelledList, ...]:
        """Return the candidate lists with their grades, teacher's scores and the settings' relevance threshold."""
        qrels, s, lists = self.collection.qrels, self.settings, []
        for item in self.candidates.lists:
            one = label(item, qrels.get(item.query.id, {}), s.relevance_threshold)
            scores = None if self.teacher is None else teacher_scores(item, self.teacher.get(item.query.id))
            if scores is not None:
                grades = one.grades if s.label_source.judged else teacher_grades(scores, s.teacher_levels)
                one = replace(one, grades=grades, teacher=scores)
            lists.append(one)
        return tuple(lists)


def load_data(
    settings: DataSettings, cache_dir: Path | None = None, collection: Collection | None = None
) -> BenchmarkData:
    """Open the collection of a benchmark or training set and load its candidate lists.

    Args:
        settings: the collection, first stage, depth, number of queries and source of labels.
        cache_dir: the folder of BM25 indexes; None: the user's cache folder.
        collection: the collection of `settings`, if it is already open, without generated queries.

    Raises:
        ConfigError: if grades are positive, but none reaches the relevance threshold.
        HeadRankError: from `load_collection`, `read_teacher`, `lists_from_run` and `generated_lists` (missing files,
            unknown ids, malformed lines, too few passages).
    """
    s, source = settings, settings.label_source
    collection = collection or load_collection(
        s.collection, title=s.title, qrels=s.qrels, judged=source.judged, passages_only=s.generated is not None
    )
    made = None
    if s.generated is not None:
        collection, made = generated_lists(s, collection, cache_dir)
    teacher = None if source.run is None else read_teacher(source.run, collection, s.duplicates)
    among = None if source.judged else collection.queries if teacher is None else teacher
    queries = select_queries(collection, s.max_queries, s.seed, among=among)
    _check_threshold(s, collection)
    candidates = made or _searched(s, collection, queries, cache_dir)
    if teacher is not None and source.run is not None:
        if source.judged:
            check_targets(candidates, teacher, source.run)
        else:
            candidates = keep_scored(candidates, teacher, source.run)
    run = {
        item.query.id: Ranking.from_scores(item.query.id, item.passage_ids, item.first_stage_scores or ())
        for item in candidates.lists
    }
    return BenchmarkData(s, collection, tuple(query.id for query in queries), run, candidates, teacher)


def _searched(
    s: DataSettings, collection: Collection, queries: Sequence[Query], cache_dir: Path | None
) -> CandidateLists:
    """The candidate lists of the first stage."""
    found = retrieve(collection, s.first_stage, queries, s.depth, s.run_path, s.duplicates, cache_dir, s.bm25)
    return lists_from_run(collection, found, depth=s.depth, queries=queries, drop_identical_ids=s.drop_identical_ids)


def _check_threshold(settings: DataSettings, collection: Collection) -> None:
    """Raise `ConfigError` if grades are positive but none reaches the threshold."""
    highest, origin = settings.teacher_levels - 1, f"{settings.teacher_levels} teacher_levels"
    if settings.label_source.judged:
        highest = max(max(collection.qrels[query.id].values()) for query in collection.judged_queries)
        origin = settings.collection
    if 0 < highest < settings.relevance_threshold:
        raise ConfigError(
            f"data {settings.name}: relevance_threshold is {settings.relevance_threshold}, but the highest grade of "
            f"{origin} is {highest}; expected a threshold from 1 to {highest}"
        )
