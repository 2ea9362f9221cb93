"""Make candidate lists from a first stage: its top passages for each query, with their texts.

`candidate_lists` retrieves the first-stage run; `lists_from_run` takes an existing one.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrank.data.bm25.index import BM25Parameters
from headrank.data.collections import Collection
from headrank.data.first_stage import FirstStage, check_depth, cut_ranking, retrieve, select_queries
from headrank.data.parsing import shown
from headrank.data.trec import Duplicates, ranking_fault
from headrank.errors import FormatError
from headrank.logs import counts_text
from headrank.ranking import CandidateList, Query, Run

_log = logging.getLogger(__name__)

_FIRST_PAIRS = 3  # (query, passage) pairs named in an error


@dataclass(frozen=True, slots=True)
class CandidateLists:
    """The candidate lists of a collection's judged queries, and the queries and candidates that were left out.

    lists: one list per query with candidates, in the order of the queries.
    judged_queries: the number of queries that were requested (a sample if `max_queries` is set): judged ones, or those
        that a teacher scored.
    unjudged_queries: the number of the collection's queries without a judgement; they are never used.
    queries_without_candidates: ids of judged queries for which the first stage found nothing. Metrics count 0 for them.
    queries_without_relevant: ids of judged queries whose list was dropped, because no candidate reaches the relevance
        threshold; empty if no threshold was given.
    identical_ids_dropped: the number of passages among the first `depth` of the first stage (see `candidate_lists`)
        that were dropped because their id equals the query's; later passages move up.
    """

    lists: tuple[CandidateList, ...]
    judged_queries: int
    unjudged_queries: int
    queries_without_candidates: tuple[str, ...]
    queries_without_relevant: tuple[str, ...]
    identical_ids_dropped: int

    def __len__(self) -> int:
        return len(self.lists)


def lists_from_run(
    collection: Collection,
    run: Run,
    *,
    depth: int,
    queries: Sequence[Query] | None = None,
    drop_identical_ids: bool = False,
    relevance_threshold: int | None = None,
) -> CandidateLists:
    """Make the candidate lists of a run: the top `depth` passages of each query, with their texts.

    Texts are not changed; repeated, empty and very long texts are kept.

    Args:
        collection: the collection with the texts.
        run: query id -> ranking.
        depth: candidates per query.
        queries: the queries; None: all judged queries.
        drop_identical_ids: whether candidates with the query's id are dropped before cutting to `depth`.
        relevance_threshold: drop lists without a candidate of this grade or higher (for training); None: keep all
            lists (for evaluation).

    Raises:
        FormatError: if the text of a passage is missing, or an id or score cannot be written to a run file.
        ConfigError: if the depth is below 1.
    """
    check_depth(depth)
    queries = select_queries(collection) if queries is None else queries
    cuts = {query.id: cut_ranking(run, query, depth, drop_identical_ids) for query in queries}
    for ranking, _ in cuts.values():
        fault = ranking_fault(ranking)
        if fault:
            raise FormatError(f"{collection.name}: its first stage cannot be written to a run file: {fault}")
    passages = collection.lookup(dict.fromkeys(p for ranking, _ in cuts.values() for p in ranking.passage_ids))
    missing = [(q, p) for q, (ranking, _) in cuts.items() for p in ranking.passage_ids if p not in passages]
    if missing:
        named = "; ".join(f"query {shown(q)}, passage {shown(p)}" for q, p in missing[:_FIRST_PAIRS])
        raise FormatError(
            f"{collection.name}: {len(missing)} candidates within the top {depth} of the first stage are not in the "
            f"collection, the first: {named}; expected their passages there. Is the run of another collection, or is "
            "the collection incomplete?"
        )
    lists: list[CandidateList] = []
    without_candidates: list[str] = []
    without_relevant: list[str] = []
    for query in queries:
        ranking, _ = cuts[query.id]
        grades = collection.qrels.get(query.id, {})
        if not ranking.results:
            without_candidates.append(query.id)
        elif relevance_threshold is not None and not any(
            grades[p] >= relevance_threshold for p in ranking.passage_ids if p in grades
        ):
            without_relevant.append(query.id)
        else:
            lists.append(CandidateList(query, tuple(passages[p] for p in ranking.passage_ids), ranking.scores))
    result = CandidateLists(
        lists=tuple(lists),
        judged_queries=len(queries),
        unjudged_queries=len(collection.queries) - len(collection.judged_queries),
        queries_without_candidates=tuple(without_candidates),
        queries_without_relevant=tuple(without_relevant),
        identical_ids_dropped=sum(dropped for _, dropped in cuts.values()),
    )
    left_out = counts_text(
        (len(without_candidates), "queries without candidates"),
        (len(without_relevant), "lists without a relevant candidate dropped"),
        (result.identical_ids_dropped, "candidates with the query's id dropped"),
    )
    _log.info(
        "%s: %d candidate lists of up to %d passages, %d queries%s",
        *(collection.name, len(lists), depth, len(queries), left_out),
    )
    return result


def candidate_lists(
    collection: Collection,
    *,
    kind: FirstStage | str,
    depth: int,
    run_path: str | Path | None = None,
    max_queries: int | None = None,
    seed: int = 0,
    drop_identical_ids: bool = False,
    duplicates: Duplicates | str = Duplicates.ERROR,
    relevance_threshold: int | None = None,
    cache_dir: Path | None = None,
    bm25: BM25Parameters | None = None,
) -> CandidateLists:
    """Retrieve the first stage of the judged queries and make their candidate lists of up to `depth` passages.

    See `first_stage_run` and `lists_from_run` for the arguments and the errors.
    """
    queries = select_queries(collection, max_queries, seed)
    run = retrieve(collection, kind, queries, depth, run_path, duplicates, cache_dir, bm25 or BM25Parameters())
    return lists_from_run(
        collection,
        run,
        depth=depth,
        queries=queries,
        drop_identical_ids=drop_identical_ids,
        relevance_threshold=relevance_threshold,
    )
