"""Write tables and a figure of the scores that `evaluate.py` wrote, by seed, order, depth and fusion.

    python -m experiments.alignment.table --output outputs/alignment --group NAME=RUN,RUN,RUN ... --results FOLDER

A group is one training repeated with several seeds. Groups in FOLDER/results.json that are not given are kept. nDCG@10
per query is averaged over a group's seeds before it is tested against BM25 and against the heads before alignment
(paired randomization test over queries).
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from experiments.alignment.evaluate import ALIGNED, ZERO_SHOT, Systems
from experiments.alignment.figure import Row, draw
from experiments.zero_shot.read import load
from headrank.data import load_collection
from headrank.evaluation import BenchmarkResult, SystemRun, ZoneCounts, compare, score_benchmark
from headrank.evaluation.measures.selectivity import selectivity
from headrank.io.files import atomic_write
from headrank.model.fusion import fuse_first_stage
from headrank.ranking import CandidateList, ContextScores, Ranking

BM25 = "BM25"
FUSION_ALPHA = 1.0  # the same for every system, not tuned
METRIC = "ndcg@10"
ORDERS = {"first_stage": 0, "reversed": 1, "shuffled": 2}


@dataclass(frozen=True)
class Test:
    """A test set at one depth in one context order."""

    name: str
    depth: int
    order: str


def score(path: Path, cache: Path, systems: Mapping[str, Path]) -> BenchmarkResult:
    """Evaluate all systems on one test, with and without fusion, with BM25 as the reference.

    Args:
        path: a score file of `evaluate.py`, which names the test.
        cache: the cache folder.
        systems: name of the system -> its score file for this test.
    """
    stored = json.loads(path.read_text())
    collection = load_collection(stored["source"].partition(":")[0])
    found = load(stored["source"], stored["depth"], cache)
    relevance_threshold = 1 if stored["source"].startswith("beir/") else 2
    runs: dict[str, SystemRun] = {}
    for name, file in systems.items():
        rows = json.loads(file.read_text())["lists"]
        if [row["query_id"] for row in rows] != [item.query.id for item in found.lists]:
            raise ValueError(
                f"{file}: expected the lists of {stored['source']}, found other lists; run evaluate.py again"
            )
        for label, alpha in ((name, 0.0), (f"{name} + BM25", FUSION_ALPHA)):
            runs[label] = _run(found.lists, rows, alpha)
        if BM25 not in runs:
            first = [{**row, "z": [-float(i) for i in range(len(row["z"]))], "masses": None} for row in rows]
            runs = {BM25: _run(found.lists, first, 0.0), **runs}
    ids = [*(item.query.id for item in found.lists), *found.queries_without_candidates]
    return score_benchmark(
        path.stem,
        runs,
        collection.qrels,
        query_ids=ids,
        relevance_threshold=relevance_threshold,
        reference=BM25,
        metrics=[METRIC],
    )


def _run(lists: Sequence[CandidateList], rows: Sequence[Mapping[str, Any]], alpha: float) -> SystemRun:
    rankings, contexts = {}, []
    for item, row in zip(lists, rows, strict=True):
        z = torch.tensor(row["z"])
        values = (fuse_first_stage(z, alpha) if alpha else z).tolist()
        ids, order = item.passage_ids, row["order"]
        rankings[item.query.id] = Ranking.from_scores(item.query.id, ids, values)
        masses = None if row["masses"] is None or alpha else tuple(row["masses"])
        contexts.append(
            ContextScores(item.query.id, tuple(ids[i] for i in order), tuple(values[i] for i in order), masses)
        )
    return SystemRun(rankings, tuple(contexts))


def mean_per_query(result: BenchmarkResult, names: Sequence[str]) -> list[float]:
    """Return nDCG@10 of each query, averaged over the named systems (the seeds of one training).

    Args:
        result: the results of all systems on one test.
        names: the names of the systems.
    """
    each = [result.systems[name].per_query[METRIC] for name in names]
    return [statistics.fmean(values) for values in zip(*each, strict=True)]


def pooled_zone(result: BenchmarkResult, names: Sequence[str]) -> list[ZoneCounts]:
    """Return the zone counts of each candidate list, summed over the named systems (the seeds of one training).

    The bootstrap then resamples queries, not seeds.

    Args:
        result: the results of all systems on one test.
        names: the names of the systems.
    """
    zones = []
    for name in names:
        zone = result.systems[name].middle_zone
        assert zone is not None
        zones.append(zone.zone)
    return [sum(counts, ZoneCounts()) for counts in zip(*zones, strict=True)]


def rows_of(test: Test, result: BenchmarkResult, before: str, seeds: Sequence[str]) -> list[dict[str, Any]]:
    """Make the rows for BM25, the heads before alignment, and the aligned heads (mean and spread over seeds).

    Args:
        test: the test.
        result: the results of all systems on the test.
        before: the name of the system before alignment.
        seeds: the names of the aligned systems, one per seed.
    """
    rows = []
    start = mean_per_query(result, [before])
    bm25 = mean_per_query(result, [BM25])
    for label, names in ((BM25, [BM25]), (ZERO_SHOT, [before]), (ALIGNED, list(seeds))):
        values = mean_per_query(result, names)
        means = [result.systems[name].means[METRIC] for name in names]
        fused = [result.systems[f"{name} + BM25"].means[METRIC] for name in names if label != BM25]
        zone = selectivity(pooled_zone(result, names))
        homogenization = []
        for name in names:
            measured = result.systems[name].middle_zone
            assert measured is not None
            homogenization.append(asdict(measured.homogenization))
        rows.append(
            {
                **asdict(test),
                "system": label,
                "seeds": len(names),
                METRIC: statistics.fmean(means),
                "spread": statistics.stdev(means) if len(means) > 1 else None,
                "fused": statistics.fmean(fused) if fused else None,
                "against BM25": None if label == BM25 else asdict(compare(values, bm25)),
                "against zero-shot": asdict(compare(values, start)) if label == ALIGNED else None,
                "zone": asdict(zone),
                "homogenization": None
                if label == BM25
                else {
                    key: statistics.fmean(h[key] for h in homogenization if h[key] is not None)
                    for key in ("deviation", "entropy", "nearly_equal")
                },
            }
        )
    return rows


def number(value: float | None, signed: bool = False) -> str:
    """Format a value in [-1, 1] without its leading zero."""
    return "" if value is None else f"{value:{'+' if signed else ''}.4f}".replace("0.", ".", 1)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Format the rows of one group as Markdown."""
    lines = [
        "| test | order | system | nDCG@10 | sd over seeds | against BM25 (p) | against before (p) | fused with BM25 | "
        "zone: relevant / irrelevant in the top quartile | selectivity (95 %) |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        zone, against = row["zone"], []
        for key in ("against BM25", "against zero-shot"):
            found = row[key]
            against.append(f"{number(found['difference'], True)} ({found['p_randomization']:.3f})" if found else "")
        shares = interval = ""
        if zone["difference"] is not None:
            shares = f"{100 * zone['relevant']:.1f} % / {100 * zone['irrelevant']:.1f} %"
            interval = f"{100 * zone['difference']:+.1f}"
            if zone["interval"]:
                interval += f" ({100 * zone['interval'][0]:.1f} to {100 * zone['interval'][1]:.1f})"
        lines.append(
            f"| {row['name']} top {row['depth']} | {row['order'].replace('_', ' ')} | {row['system']} | "
            f"{number(row[METRIC])} | {number(row['spread'])} | {against[0]} | {against[1]} | {number(row['fused'])} | "
            f"{shares} | {interval} |"
        )
    return lines


def main() -> None:
    """Write results.md, results.json and the figure of a group."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=Path("outputs/alignment"))
    parser.add_argument("--dtype", default="float32", help="as given to evaluate.py")
    parser.add_argument("--group", action="append", required=True, help="NAME=RUN,RUN,... (run folders, one a seed)")
    parser.add_argument("--figure", help="the group of the figure (default: the first)")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    record: dict[str, list[dict[str, Any]]] = {}
    for entry in options.group:
        name, _, runs = entry.partition("=")
        systems = [Systems(Path(run), options.dtype) for run in runs.split(",")]
        before = options.output / systems[0].key(ZERO_SHOT)
        after = [options.output / one.key(ALIGNED) for one in systems]
        rows: list[dict[str, Any]] = []
        for path in sorted(before.glob("*.json"), key=_sort_key):
            if not all((folder / path.name).is_file() for folder in after):
                continue
            test = _test(path)
            files = {ZERO_SHOT: path} | {f"{ALIGNED} {n}": folder / path.name for n, folder in enumerate(after)}
            result = score(path, options.output, files)
            rows += rows_of(test, result, ZERO_SHOT, [f"{ALIGNED} {n}" for n in range(len(after))])
            print(name, path.stem, flush=True)
        record[name] = rows
    kept = options.results / "results.json"
    if kept.is_file():  # groups of earlier calls that are not given now
        record |= {name: rows for name, rows in json.loads(kept.read_text()).items() if name not in record}
    lines = [line for name, rows in record.items() for line in (f"## {name}", "", *table(rows), "")]
    with atomic_write(options.results / "results.md") as file:
        file.write("\n".join(["# Alignment: measured", "", *lines]))
    with atomic_write(kept) as file:
        json.dump(record, file, indent=1)
    shown = record[options.figure or next(iter(record))]
    draw([Row.from_record(row) for row in shown if row["order"] == "shuffled"], options.results / "before_after.svg")


def _test(path: Path) -> Test:
    name, depth, order = path.stem.rsplit("-", 2)
    return Test(name, int(depth), order)


def _sort_key(path: Path) -> tuple[str, int, int]:
    test = _test(path)
    return test.name, test.depth, ORDERS.get(test.order, 9)


if __name__ == "__main__":
    main()
