"""Renders the examples of a report: a table of the queries, and their passages with the words that made the scores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrank.evaluation.examples import Example, ExplainedRanking
from headrank.evaluation.measures.metrics import Metric
from headrank.evaluation.report.formatting import Form, format_value, one_line
from headrank.evaluation.report.table import Column, Shape, Table
from headrank.explanation.html import render_html

NOTE = (
    "The queries with the largest gain and the largest loss of each benchmark. The HTML report shows their best "
    "passages with the words that raised or lowered the scores."
)


@dataclass(frozen=True, slots=True)
class RenderedExample:
    """An example for the HTML report.

    title: the benchmark, the query's id and the change of the metric.
    rankings: for each ranking its title, and its passages as HTML.
    """

    title: str
    rankings: tuple[tuple[str, str], ...]


def examples_table(examples: Mapping[str, Sequence[Example]]) -> Table | None:
    """Make the table of the examples, a row per query; None without examples.

    examples: benchmark -> its examples.
    """
    rows = [
        (benchmark, one.query_id, one_line(one.query, 80), (one.before, one.after), one.after - one.before)
        for benchmark, of_benchmark in examples.items()
        for one in of_benchmark
    ]
    if not rows:
        return None
    (first, *_) = (one for of_benchmark in examples.values() for one in of_benchmark)
    columns = (
        *(Column("Benchmark"), Column("Query"), Column("Text")),
        Column(
            f"{Metric.parse(first.metric).label}, {first.reference} → {first.rankings[-1].system}",
            Form.METRIC,
            shape=Shape.PAIR,
        ),
        Column("Change", Form.CHANGE, signed=True),
    )
    return Table("examples", "Largest gains and losses", columns, tuple(rows), NOTE)


def render_examples(examples: Mapping[str, Sequence[Example]]) -> Iterator[RenderedExample]:
    """Render the examples of all benchmarks. The first one holds the style sheet of all."""
    style = True
    for benchmark, of_benchmark in examples.items():
        for one in of_benchmark:
            rankings = []
            for ranking in one.rankings:
                label = f"{ranking.system}: {Metric.parse(one.metric).label} {format_value(ranking.value, Form.METRIC)}"
                rankings.append((label, _passages(ranking, style=style)))
                style = False
            change = format_value(one.after - one.before, Form.CHANGE)
            yield RenderedExample(f"{benchmark}, query {one.query_id}: {change}", tuple(rankings))


def _passages(ranking: ExplainedRanking, *, style: bool) -> str:
    """The explained passages as HTML, each with its grade."""
    content = ranking.explanation.to_dict()
    for passage in content["passages"]:
        grade = ranking.grades.get(passage["id"])
        passage["id"] = f"{passage['id']}, {'not judged' if grade is None else f'grade {grade}'}"
    return render_html(content, page=False, style=style)
