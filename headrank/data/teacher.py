"""Soft labels: the scores that another ranker, the teacher, gives the candidates of a training set.

`data.X.labels` names a TREC run with these scores, or the experiment's teacher makes it, see `LabelSource`. They become
the targets of distillation (`LabelledList.teacher`) and, without judgements, the grades.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headrank.data.candidates import CandidateLists
from headrank.data.collections import Collection
from headrank.data.parsing import shown
from headrank.data.trec import Duplicates, read_run
from headrank.errors import FormatError
from headrank.logs import counts_text
from headrank.ranking import CandidateList, Ranking, Run
from headrank.settings import wrong

_log = logging.getLogger(__name__)

_JUDGED, _RUN, _TEACHER = "judged+", "run:", "teacher"


@dataclass(frozen=True, slots=True)
class LabelSource:
    """The source of a training set's labels, the setting `labels`.

    judged: whether the judgements are the grades. If not, the run's scores are (`teacher_grades`), and the queries are
        those of the run; the collection then needs no judgements.
    run: the TREC run with the teacher's scores; None: no list has a teacher.
    teacher: whether the experiment's teacher makes this run. Until then the lists have no teacher, and without
        judgements they are those of all queries of the collection, with grades of 0.
    """

    judged: bool = True
    run: Path | None = None
    teacher: bool = False

    @classmethod
    def parse(cls, text: str | None, name: str) -> "LabelSource":
        """Parse `run:PATH` or `teacher`, both also after `judged+`; None is the judgements alone.

        `{name}` in a path becomes `name`.

        Raises `ConfigError` for any other text.
        """
        if text is None:
            return cls()
        source = text.removeprefix(_JUDGED)
        if source == _TEACHER:
            return cls(source != text, teacher=True)
        path = source.removeprefix(_RUN).replace("{name}", name)
        if source == path or not path:
            raise wrong("labels", text, "null (judgements), teacher, run:PATH of a TREC run, or judged+...")
        return cls(source != text, Path(path).expanduser())


def read_teacher(path: Path, collection: Collection, duplicates: Duplicates | str = Duplicates.ERROR) -> Run:
    """Read the teacher's run: the rankings of the queries that the collection has. The log counts the others.

    Raises:
        FormatError: the file is malformed, or none of its queries is in the collection.
        MissingFileError: the file does not exist.
    """
    run = read_run(path, duplicates=duplicates)
    known = {query_id: ranking for query_id, ranking in run.items() if query_id in collection.queries}
    if not known:
        first = [shown(next(iter(ids), None)) for ids in (run, collection.queries)]
        raise FormatError(
            f"{path}: none of its {len(run)} queries (the first: {first[0]}) is in {collection.name} (the first: "
            f"{first[1]}); expected scores of the queries of this collection"
        )
    _log.info(
        "%s: the teacher's scores of %d queries%s",
        *(path, len(known), counts_text((len(run) - len(known), f"queries that {collection.name} does not have"))),
    )
    return known


def keep_scored(candidates: CandidateLists, run: Run, path: Path) -> CandidateLists:
    """Drop the candidates that the teacher did not score. The log counts them, and the lists with fewer than two left.

    Args:
        candidates: the candidate lists; each query is in the run.
        run: the teacher's run.
        path: its file, for messages.

    Raises:
        FormatError: no list has two scored candidates.
    """
    lists = []
    for item in candidates.lists:
        scored = set(run[item.query.id].passage_ids)
        lists.append(item.subset([i for i, passage_id in enumerate(item.passage_ids) if passage_id in scored]))
    few = [item.query.id for item in lists if len(item) < 2]
    if len(few) == len(lists):
        raise FormatError(
            f"{path}: scores fewer than two candidates of each query (the first: {shown(next(iter(few), None))}); "
            "expected scores of the first stage's candidates: lower the data set's depth, or rerank these"
        )
    _log.info(
        "%s: candidate lists of %d queries%s",
        *(path, len(lists)),
        counts_text(
            (sum(map(len, candidates.lists)) - sum(map(len, lists)), "candidates without a score dropped"),
            (len(few), "queries without two scored candidates"),
        ),
    )
    empty = tuple(item.query.id for item in lists if not len(item))
    return replace(
        candidates,
        lists=tuple(item for item in lists if len(item)),
        queries_without_candidates=candidates.queries_without_candidates + empty,
    )


def check_targets(candidates: CandidateLists, run: Run, path: Path) -> None:
    """Log the number of judged lists without targets, because the teacher did not score all their candidates.

    Raises `FormatError` if these are all lists.
    """
    without = [one.query.id for one in candidates.lists if teacher_scores(one, run.get(one.query.id)) is None]
    if without and len(without) == len(candidates.lists):
        raise FormatError(
            f"{path}: scores all candidates of no query (the first: {shown(without[0])}); expected a score for each "
            "candidate down to the depth of the data set, or to alignment.draw_depth if that is larger"
        )
    if without:
        _log.warning(
            "%s: %d of %d lists have no targets, because a candidate has no score (the first: %s)",
            *(path, len(without), len(candidates.lists), shown(without[0])),
        )


def teacher_scores(item: CandidateList, ranking: Ranking | None) -> tuple[float, ...] | None:
    """Return the teacher's scores of a list's candidates, in first-stage order; None if one has no score.

    item: the candidate list. ranking: the teacher's ranking of the query; None: it has none.
    """
    scores = {} if ranking is None else {one.id: one.score for one in ranking.results}
    found = tuple(scores[passage_id] for passage_id in item.passage_ids if passage_id in scores)
    return found if len(found) == len(item) else None


def teacher_grades(scores: Sequence[float], levels: int) -> tuple[int, ...]:
    """Make grades from the scores of a list [ours]: shares of 1, 2, 3, ... of L (L + 1) / 2 parts, best first.

    With L = 4 levels the best tenth of the candidates has grade 3, the next two tenths 2, the next three 1, the others
    0. Grades depend on ranks alone, because scores of different teachers have different scales. Tied candidates share
    their mean rank, so their grades are equal. Scores at most one float32 step apart are tied, since `write_run`
    separates ties by such steps. The best score always has the highest grade, and a worst score below it a lower one.

    Args:
        scores: [docs], finite.
        levels: L, at least 2.

    Returns:
        [docs], grades from 0 to L - 1, in the order of `scores`.
    """
    n, order = len(scores), sorted(range(len(scores)), key=lambda i: -scores[i])
    grades = [0] * n
    start = 0
    while start < n:
        end = start + 1
        while end < n and scores[order[end]] >= np.nextafter(np.float32(scores[order[end - 1]]), np.float32(-np.inf)):
            end += 1
        rank = (start + end - 1) * levels * (levels + 1)  # the mean rank of the tied candidates, in units of the shares
        level = next(k for k in range(1, levels + 1) if rank < 2 * n * k * (k + 1))
        for i in order[start:end]:
            grades[i] = levels - 1 if start == 0 else levels - level
        start = end
    return tuple(grades)
