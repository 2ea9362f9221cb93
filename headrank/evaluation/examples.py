"""Examples for a report: the queries that a system changed most, with the words that made its scores.

`examples/<benchmark>.json` in a run folder holds them; the stage `headrank.stages.examples` writes it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from headrank.errors import FormatError
from headrank.evaluation.measures.results import BenchmarkResult
from headrank.explanation import Explanation
from headrank.io.files import atomic_write
from headrank.io.strict_json import read_json

FOLDER = "examples"
"""The subfolder of a run folder that holds a file of examples per benchmark."""


@dataclass(frozen=True, slots=True)
class ExplainedRanking:
    """The best passages that a system found for the query of an example.

    system: the system's name.
    value: the system's metric on this query.
    grades: passage id -> grade, of the explained passages that are judged.
    explanation: the explained passages, best first.
    """

    system: str
    value: float
    grades: Mapping[str, int]
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Example:
    """A query that the main system changed much against a reference.

    metric: the name of the metric that was compared.
    reference: the name of the reference, and `before` the metric of its ranking.
    rankings: the explained rankings: that of the reference, unless it reads no attention, then that of the main system.
    """

    query_id: str
    query: str
    metric: str
    reference: str
    before: float
    rankings: tuple[ExplainedRanking, ...]

    @property
    def after(self) -> float:
        """The metric of the main system's ranking."""
        return self.rankings[-1].value


_FILE = TypeAdapter(tuple[Example, ...])


def largest_changes(result: BenchmarkResult, metric: str, system: str, reference: str, count: int) -> list[str]:
    """Find the queries on which a system is furthest above and furthest below a reference.

    Args:
        result: the results of a benchmark.
        metric: the metric to compare.
        system: the name of the system.
        reference: the name of the reference.
        count: the largest number of gains, and of losses.

    Returns:
        Query ids: the gains, largest first, then the losses, largest first. Equal changes keep the benchmark's order.
    """
    values = [result.systems[name].per_query[metric] for name in (system, reference)]
    changes = [(after - before, query_id) for after, before, query_id in zip(*values, result.query_ids, strict=True)]
    gains = sorted((one for one in changes if one[0] > 0), key=lambda one: -one[0])[:count]
    losses = sorted((one for one in changes if one[0] < 0), key=lambda one: one[0])[:count]
    return [query_id for _, query_id in (*gains, *losses)]


def write_examples(path: Path, examples: tuple[Example, ...]) -> None:
    """Write a file of examples atomically."""
    with atomic_write(path) as file:
        json.dump(_FILE.dump_python(examples, mode="json"), file, indent=1)


def read_examples(path: Path) -> tuple[Example, ...]:
    """Read a file of examples; empty if it does not exist. Raises `FormatError` if it is damaged."""
    if not path.is_file():
        return ()
    try:
        return _FILE.validate_python(read_json(path))
    except ValidationError as error:
        raise FormatError(f"{path}: expected a file of examples, found {error.errors()[0]['msg']}") from error
