"""The embedded model on real lists, with heads that were selected for it: HeadRank against the eager recipe."""

import json
import logging
from pathlib import Path
from typing import Any

from experiments.benchmarks import systems
from experiments.benchmarks.measure import take_turns
from experiments.benchmarks.models import Shared
from headrank.data import candidate_lists, load_collection
from headrank.model import BackboneSettings, Head, load_language_model

logger = logging.getLogger(__name__)

HEADS = "8 heads by disc - .1 H, residual 0.5"  # selected in experiments/zero_shot


def selected_heads() -> tuple[list[Head], int]:
    """The heads, and the layers that they need."""
    record = json.loads((Path(__file__).parents[1] / "zero_shot/results.json").read_text())[HEADS]
    return [Head(*pair) for pair in record["heads"]], int(record["depth"])


def run_real(collection: str, lists_by_depth: dict[int, int], device: str) -> dict[str, Any]:
    """A record for each number of candidates: seconds a query of both, and whether the rankings are the same."""
    heads, depth = selected_heads()
    settings = BackboneSettings(device=device)
    shared = Shared(load_language_model(settings), settings)
    rows = []
    for candidates, count in lists_by_depth.items():
        lists = candidate_lists(load_collection(collection), kind="bm25", depth=candidates, max_queries=count).lists
        calls = {
            systems.OURS: systems.scorer_call(shared, shared.backbone(depth), heads, lists),
            systems.EAGER: systems.eager_call(shared, heads, lists, again=False),
        }
        logger.info("real lists: %d of %d candidates", len(lists), candidates)
        samples = take_turns(calls, 1)
        ours, eager = (samples[name].result for name in calls)
        differences = [
            abs(dict(zip(b.passage_ids, b.scores, strict=True))[id] - score)
            for a, b in zip(ours.rankings, eager.rankings, strict=True)
            for id, score in zip(a.passage_ids, a.scores, strict=True)
        ]
        rows.append(
            {
                "candidates": candidates,
                "lists": len(lists),
                "tokens_a_list": ours.tokens / len(lists),
                "same_order": sum(
                    a.passage_ids == b.passage_ids for a, b in zip(ours.rankings, eager.rankings, strict=True)
                ),
                "largest_difference": max(differences),
                "seconds_a_list": {name: taken.seconds / len(lists) for name, taken in samples.items()},
                "peak_mib": {name: taken.peak_mib for name, taken in samples.items()},
                "samples": {name: taken.to_dict() for name, taken in samples.items()},
            }
        )
    return {"collection": collection, "layers": f"{depth} of {len(shared.decoder.layers)}", "rows": rows}
