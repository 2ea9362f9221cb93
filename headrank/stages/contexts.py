"""Scores in context order: their file beside each run, and those of systems that read no context themselves."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrank.experiment import FIRST_STAGE_SYSTEM
from headrank.io.files import atomic_write
from headrank.ranking import ContextScores, Run
from headrank.stages.lists import BenchmarkData


def first_stage_contexts(benchmark: BenchmarkData, order: tuple[ContextScores, ...]) -> tuple[ContextScores, ...]:
    """Return the first stage's scores in the context order of another system that read the same candidate lists.

    The first stage is measured on the passages in that system's middle zone (the middle half of the context). In its
    own order no passage of the zone could reach the top quartile.

    order: the other system's scores in context order.

    Returns one entry per list. Its `masses` are the scores, or None if a score is negative or none is above 0. Raises
    `ValueError` if a list has no first-stage scores.
    """
    by_query = {context.query_id: context.passage_ids for context in order}
    contexts = []
    for item in benchmark.candidates.lists:
        if item.first_stage_scores is None:
            raise ValueError(f"query {item.query.id!r}: expected scores of the {FIRST_STAGE_SYSTEM}, found none")
        scores = dict(zip(item.passage_ids, item.first_stage_scores, strict=True))
        ordered = tuple(scores[passage_id] for passage_id in by_query[item.query.id])
        masses = ordered if min(ordered) >= 0 and max(ordered) > 0 else None
        contexts.append(ContextScores(item.query.id, by_query[item.query.id], ordered, masses))
    return tuple(contexts)


def ranked_contexts(rankings: Run, order: tuple[ContextScores, ...]) -> tuple[ContextScores, ...]:
    """Return a pointwise system's scores in the context order of another system that read the same candidate lists.

    A pointwise system reads each passage alone, so it has no context order. It is measured on the passages in the
    middle zone of the other system, whose scores in context order are `order`.
    """
    contexts = []
    for context in order:
        scores = {result.id: result.score for result in rankings[context.query_id].results}
        ordered = tuple(scores[passage_id] for passage_id in context.passage_ids)
        contexts.append(ContextScores(context.query_id, context.passage_ids, ordered))
    return tuple(contexts)


def contexts_path(run_path: Path) -> Path:
    """Return the path of the scores in context order that belong to a run file."""
    return run_path.with_suffix(".contexts.json")


def write_contexts(
    path: Path,
    contexts: Sequence[ContextScores],
    facts: dict[str, Any],
    unfused: Sequence[tuple[float, ...] | None] = (),
) -> None:
    """Write the scores of a run in context order, atomically.

    Args:
        path: the file, see `contexts_path`.
        contexts: one per list.
        facts: counts and times of the run, see `RerankedBenchmark.facts`.
        unfused: for each list its scores before fusion in context order; None without fusion.
    """
    rows: list[dict[str, Any]] = [
        {"query_id": c.query_id, "passage_ids": c.passage_ids, "scores": c.scores, "masses": c.masses} for c in contexts
    ]
    for row, scores in zip(rows, unfused, strict=False):
        row |= {} if scores is None else {"unfused": scores}
    with atomic_write(path) as file:
        json.dump({"facts": facts, "lists": rows}, file)


def read_contexts(path: Path) -> tuple[tuple[ContextScores, ...], tuple[ContextScores, ...], dict[str, Any]]:
    """Read what `write_contexts` wrote.

    Returns:
        The contexts; the same with the scores before fusion, empty without fusion; the facts.
    """
    content = json.loads(path.read_text(encoding="utf-8"))

    def contexts(name: str) -> tuple[ContextScores, ...]:
        return tuple(
            ContextScores(row["query_id"], tuple(row["passage_ids"]), _numbers(row[name]), _numbers(row["masses"]))
            for row in content["lists"]
            if name in row
        )

    return contexts("scores"), contexts("unfused"), content["facts"]


def _numbers(values: list[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)
