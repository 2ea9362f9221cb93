"""Find queries that are used both to select or align heads and to score them."""

from collections.abc import Sequence

from headrank.stages.lists import BenchmarkData, LabelledData


def shared_queries(train: LabelledData, benchmarks: Sequence[BenchmarkData]) -> dict[str, int]:
    """Count the scored queries of each benchmark that are also labelled queries.

    Two queries are the same if their texts are equal up to white space and case, or if they have the same id in the
    same collection.

    Args:
        train: the labelled lists.
        benchmarks: the benchmarks.

    Returns:
        Name of the benchmark -> number of shared queries, for example `trec-dl-2019` -> 3. Benchmarks without shared
        queries are left out.
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
    """Return the warning about shared queries, for the log and the report. It is empty if there are none.

    Args:
        shared: the result of `shared_queries`.
        benchmarks: the benchmarks, whose number of scored queries the warning gives.
    """
    if not shared:
        return ""
    scored = {benchmark.settings.name: len(benchmark.query_ids) for benchmark in benchmarks}
    counts = ", ".join(f"{count} of the {scored[name]} queries of {name}" for name, count in shared.items())
    return (
        f"The heads were selected or aligned on queries that are scored here ({counts}): these numbers do not show "
        "how they rank for other queries."
    )


def _normalised(text: str) -> str:
    return " ".join(text.split()).casefold()
