"""Queries that chose or trained the heads and are scored as well."""

from collections.abc import Sequence

from headrank.stages.lists import BenchmarkData, LabelledData


def shared_queries(train: LabelledData, benchmarks: Sequence[BenchmarkData]) -> dict[str, int]:
    """Benchmark -> how many of its scored queries are among the labelled ones; benchmarks that share none are left out.

    A query is the same if its text is, apart from white space and case, whatever its id and collection; or if it has
    the same id in the same collection.
    """
    texts = {_normalised(one.item.query.text) for one in train.lists}
    ids = {(part.settings.collection, query_id) for part in train.parts for query_id in part.query_ids}
    found = {}
    for benchmark in benchmarks:
        queries, collection = benchmark.collection.queries, benchmark.settings.collection
        shared = sum(
            (collection, query_id) in ids or _normalised(queries[query_id].text) in texts
            for query_id in benchmark.query_ids
        )
        if shared:
            found[benchmark.settings.name] = shared
    return found


def shared_notice(shared: dict[str, int], benchmarks: Sequence[BenchmarkData]) -> str:
    """The warning of a log and a report; empty if no query is shared."""
    if not shared:
        return ""
    scored = {benchmark.settings.name: len(benchmark.query_ids) for benchmark in benchmarks}
    counts = ", ".join(f"{count} of the {scored[name]} queries of {name}" for name, count in shared.items())
    return (
        f"The heads were selected or aligned on queries that are scored here ({counts}): these numbers say nothing "
        "about other queries."
    )


def _normalised(text: str) -> str:
    return " ".join(text.split()).casefold()
