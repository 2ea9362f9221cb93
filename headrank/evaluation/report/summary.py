"""Write the sentences of the report: a headline, and a line per benchmark."""

from collections.abc import Sequence

from headrank.evaluation.measures.metrics import Metric, mean
from headrank.evaluation.measures.results import BenchmarkResult
from headrank.evaluation.measures.suite import SuiteComparison, compare_systems
from headrank.evaluation.report.formatting import Form, format_value, one_line
from headrank.evaluation.report.table import markdown_text


def headline(results: Sequence[BenchmarkResult], metric: str, main: str) -> str:
    """Write the first sentence of the report, in plain text: the main system's mean compared with the first stage's.

    Args:
        results: one per benchmark.
        metric: the metric, such as `ndcg@10`.
        main: the name of the main system.
    """
    label, reference = Metric.parse(metric).label, results[0].reference
    with_main = [result for result in results if main in result.systems]
    after = mean([result.systems[main].means[metric] for result in with_main])
    where = one_line(with_main[0].name) if len(with_main) == 1 else f"average over {len(with_main)} benchmarks"
    start = f"{one_line(main)} reaches {label} {format_value(after, Form.METRIC)} on {where}"
    compared = compare_systems(results, metric, main, reference)
    if compared is None:
        return f"{start}; no other system was measured."
    start += f", {one_line(reference)} {format_value(compared.before, Form.METRIC)} "
    start += f"({format_value(compared.after - compared.before, Form.CHANGE)}"
    if len(compared.parts) == 1:
        (part,) = compared.parts
        verdict = "significant" if part.significant else "not significant"
        return f"{start}; {p_text(part.p_holm)}, {verdict} over {part.queries} queries)."
    return f"{start}): {_verdict(compared)}."


def change_lines(results: Sequence[BenchmarkResult], metric: str, main: str) -> list[str]:
    """Write one Markdown line per benchmark that compares the main system with the first stage.

    A line is `- dl20: first stage .4796 → headrank .5012 (+.0216, p .030; ...)`, with the Holm-corrected p. See
    `headline` for the arguments.

    Returns:
        The lines; empty if the main system cannot be compared with the first stage.
    """
    compared = compare_systems(results, metric, main, results[0].reference)
    lines = []
    for part in compared.parts if compared else ():
        before, after = format_value(part.before, Form.METRIC), format_value(part.after, Form.METRIC)
        names = [markdown_text(one_line(name)) for name in (part.benchmark, results[0].reference, main)]
        lines.append(
            f"- {names[0]}: {names[1]} {before} → {names[2]} {after} "
            f"({format_value(part.test.difference, Form.CHANGE)}, "
            f"{p_text(part.p_holm)}; {part.test.wins} won, {part.test.ties} tied, {part.test.losses} lost of "
            f"{part.queries} queries)"
        )
    return lines


def p_text(p: float) -> str:
    """Format a p value as `p .030` or `p <.001`."""
    return f"p {format_value(p, Form.P)}"


def _verdict(compared: SuiteComparison) -> str:
    counts = []
    for word, found, sure in (
        ("better", compared.benchmarks.won, compared.significant.won),
        ("worse", compared.benchmarks.lost, compared.significant.lost),
    ):
        if found:
            counts.append(f"{word} on {found}, " + (f"significantly on {sure}" if sure else "none significantly"))
    return "; ".join(counts) or "the same on each"
