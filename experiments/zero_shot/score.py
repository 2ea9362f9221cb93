"""Evaluate every system of the zero-shot study on the scores that `read.py` saved, and write results.md."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.zero_shot.read import TRAIN_SEEDS, load
from experiments.zero_shot.reading import ListScores, stored_lists
from experiments.zero_shot.systems import CALIBRATIONS, System, systems, training_table
from headrank.data import load_collection
from headrank.evaluation import BenchmarkResult, Comparison, SystemRun, compare, score_benchmark
from headrank.heads import Selection, ndcg
from headrank.io.files import atomic_write
from headrank.model.fusion import fuse_first_stage
from headrank.ranking import CandidateList, ContextScores, Qrels, Ranking

ALPHAS = (0.0, 0.25, 0.5, 1.0, 2.0)  # candidate fusion weights, chosen on the training queries
BM25 = "BM25"
KINDS = ("all heads", "8 heads by disc - .1 H")  # systems for the comparison of calibrations


@dataclass(frozen=True)
class Test:
    """A benchmark at one depth in one context order."""

    name: str
    depth: int
    order: str
    lists: Sequence[CandidateList]
    readings: Sequence[ListScores]
    qrels: Qrels
    query_ids: Sequence[str]


def load_tests(output: Path, study: dict) -> list[Test]:
    """Load every test of the study whose scores exist."""
    tests = []
    for entry in study["tests"]:
        collection = load_collection(entry["source"].partition(":")[0])
        found = load(entry["source"], entry["depth"], output)
        ids = [*(item.query.id for item in found.lists), *found.queries_without_candidates]
        for order in entry["orders"]:
            path = output / f"{entry['name']}-{entry['depth']}-{order}.safetensors"
            if path.is_file():
                readings = stored_lists(path)
                tests.append(Test(entry["name"], entry["depth"], order, found.lists, readings, collection.qrels, ids))
    return tests


def choose_alpha(system: System, selection: Selection, lists: Sequence[CandidateList], table, orders) -> float:
    """Return the fusion weight with the highest nDCG@10 on the training queries, in their first shuffled order.

    Args:
        system: the system.
        selection: its selected heads.
        lists: the candidate lists of the training queries.
        table: the head table of these lists, which holds their grades.
        orders: for each context order, the scores of every list.
    """
    by_id = {item.query_id: item for item in table.lists}
    best, chosen = -1.0, 0.0
    for alpha in ALPHAS:
        values = []
        for item, one in zip(lists, orders[0], strict=True):
            if item.query.id in by_id:
                z = fuse_first_stage(system.score(one, selection).float(), alpha)
                values.append(float(ndcg(z[None], by_id[item.query.id].grades)[0]))
        if sum(values) > best:
            best, chosen = sum(values), alpha
    return chosen


def evaluate(test: Test, scores: dict[str, Sequence]) -> BenchmarkResult:
    """Compute nDCG@10 and selectivity of every system, with BM25 as the reference.

    Args:
        test: the test.
        scores: name of the system -> z of each candidate list.
    """
    threshold = 1 if test.name in ("nfcorpus", "arguana") else 2
    runs: dict[str, SystemRun] = {}
    for name, zs in scores.items():
        rankings, contexts = {}, []
        for item, one, z in zip(test.lists, test.readings, zs, strict=True):
            values, ids = [float(v) for v in z], item.passage_ids
            rankings[item.query.id] = Ranking.from_scores(item.query.id, ids, values)
            contexts.append(
                ContextScores(item.query.id, tuple(ids[i] for i in one.order), tuple(values[i] for i in one.order))
            )
        runs[name] = SystemRun(rankings, tuple(contexts))
    return score_benchmark(
        f"{test.name}@{test.depth} {test.order}",
        runs,
        test.qrels,
        query_ids=test.query_ids,
        relevance_threshold=threshold,
        reference=BM25,
        metrics=["ndcg@10"],
    )


def number(value: float) -> str:
    """Format a value in [0, 1] without its leading zero."""
    return f"{value:.3f}".replace("0.", ".", 1)


def signed(comparison: Comparison) -> str:
    """Format a difference and its p-value."""
    return f"{comparison.difference:+.3f} (p {comparison.p_randomization:.3f})".replace("0.", ".", 2)


def main() -> None:
    """Write results.md and results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("outputs/zero_shot"))
    parser.add_argument("--results", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    output: Path = options.output
    study = json.loads((output / "study.json").read_text())
    train = load(study["train"], 20, output)
    qrels = load_collection(study["train"].partition(":")[0]).qrels
    orders = [stored_lists(output / f"train-20-shuffled{seed}.safetensors") for seed in TRAIN_SEEDS]
    table = training_table(train.lists, qrels, orders)
    every = systems()
    chosen = {s.name: s.choose(table) for s in every}
    alphas = {s.name: choose_alpha(s, chosen[s.name], train.lists, table, orders) for s in every}
    results: dict[tuple[str, int, str], BenchmarkResult] = {}
    for test in load_tests(output, study):
        scores: dict[str, Sequence] = {
            BM25: [-1.0 * _ranks(item) for item in test.lists],
        }
        for system in every:
            zs = [system.score(one, chosen[system.name]).float() for one in test.readings]
            scores[system.name] = zs
            scores[f"{system.name} + BM25"] = [fuse_first_stage(z, alphas[system.name]) for z in zs]
        results[test.name, test.depth, test.order] = evaluate(test, scores)
        print(results[test.name, test.depth, test.order].name, flush=True)
    text = report(results, every, chosen, alphas)
    with atomic_write(options.results / "results.md") as file:
        file.write(text)
    record = {
        name: {
            "heads": [tuple(h) for h in selection.heads][:40],  # at most 40, for systems that use every head
            "depth": selection.depth,
            "fusion_alpha": alphas[name],
            "ndcg@10": {r.name: r.systems[name].means["ndcg@10"] for r in results.values()},
            "ndcg@10 fused": {r.name: r.systems[f"{name} + BM25"].means["ndcg@10"] for r in results.values()},
        }
        for name, selection in chosen.items()
    }
    with atomic_write(options.results / "results.json") as file:
        json.dump(record, file, indent=1)


def _ranks(item: CandidateList):
    import torch

    return torch.arange(len(item)).float()


def report(
    results: dict[tuple[str, int, str], BenchmarkResult],
    every: list[System],
    chosen: dict[str, Selection],
    alphas: dict[str, float],
) -> str:
    """Format the tables as Markdown."""
    lines: list[str] = []
    shuffled = [key for key in results if key[2] == "shuffled"]
    main = [s.name for s in every if s.name.endswith("residual 0.5")]
    for depth in sorted({key[1] for key in results if key[0] == "dl20"}):
        kinds = [o for o in ("first_stage", "reversed", "shuffled") if ("dl20", depth, o) in results]
        lines += [
            f"## Systems on TREC DL 2020, BM25 top {depth}, three context orders (nDCG@10)", "",
            f"| system | heads | layers | {' | '.join(kinds)} | fused, shuffled | alpha | "
            "zone: relevant / irrelevant in the top quartile, shuffled |",
            "| --- |" + " ---: |" * (len(kinds) + 5),
        ]  # fmt: skip
        for name in [BM25, *main]:
            per_order = [number(results["dl20", depth, o].systems[name].means["ndcg@10"]) for o in kinds]
            heads = (len(chosen[name].heads), chosen[name].depth) if name in chosen else ("", "")
            fused = results["dl20", depth, "shuffled"].systems.get(f"{name} + BM25")
            zone = results["dl20", depth, "shuffled"].systems[name].selectivity
            shares = ""
            if zone and zone.relevant is not None and zone.irrelevant is not None:
                shares = f"{100 * zone.relevant:.1f} % / {100 * zone.irrelevant:.1f} %"
            lines.append(
                f"| {name} | {heads[0]} | {heads[1]} | {' | '.join(per_order)} | "
                f"{number(fused.means['ndcg@10']) if fused else ''} | {alphas.get(name, '')} | {shares} |"
            )
        lines.append("")
    orders = [key for key in results if key[0] == "dl20"]
    lines += [
        "## Calibrations on TREC DL 2020 by depth and context order (nDCG@10, unfused / fused with BM25)", "",
        "| system | " + " | ".join(f"top {d}, {o}" for _, d, o in orders) + " |",
        "| --- |" + " ---: |" * len(orders),
    ]  # fmt: skip
    for name in (f"{kind}, {label}" for kind in KINDS for label in CALIBRATIONS):
        cells = [
            " / ".join(number(results[key].systems[n].means["ndcg@10"]) for n in (name, f"{name} + BM25"))
            for key in orders
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append("")
    for kind in KINDS:
        lines += [
            f"## Calibrations, {kind}, shuffled order (nDCG@10; in brackets against subtraction, residual 0)", "",
            "| calibration | " + " | ".join(f"{n}@{d}" for n, d, _ in shuffled) + " | mean |",
            "| --- |" + " ---: |" * (len(shuffled) + 1),
        ]  # fmt: skip
        rows = [BM25, *(f"{kind}, {label}" for label in CALIBRATIONS)]
        for name in rows:
            cells, values = [], []
            for key in shuffled:
                system, base = results[key].systems[name], results[key].systems[f"{kind}, residual 0"]
                values.append(system.means["ndcg@10"])
                cell = number(values[-1])
                if name not in (BM25, f"{kind}, residual 0"):
                    cell += " (" + signed(compare(system.per_query["ndcg@10"], base.per_query["ndcg@10"])) + ")"
                cells.append(cell)
            lines.append(f"| {name} | {' | '.join(cells)} | {number(sum(values) / len(values))} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
