"""Compare HeadRank with the eager recipe, with the embedded model and its selected heads on real candidate lists."""

import json
import logging
from pathlib import Path
from typing import Any

from experiments.benchmarks import systems
from experiments.benchmarks.against import MARGIN
from experiments.benchmarks.eager import eager_bytes
from experiments.benchmarks.growth import FRAME
from experiments.benchmarks.measure import take_turns
from experiments.benchmarks.models import Shared
from headrank.baselines.language_model import load_language_model
from headrank.data import candidate_lists, load_collection
from headrank.io.memory import device_memory
from headrank.model import BackboneSettings, Head, PromptSettings

logger = logging.getLogger(__name__)

MAX_PASSAGE_TOKENS = 72  # tokens per passage: 100 passages and the tails fit into the context of 8,192
HEADS = "8 heads by disc - .1 H, residual 0.5"  # selected in experiments/zero_shot


def selected_heads() -> tuple[list[Head], int]:
    """Return the selected heads and the number of layers that they need."""
    record = json.loads((Path(__file__).parents[1] / "zero_shot/results.json").read_text())[HEADS]
    return [Head(*pair) for pair in record["heads"]], int(record["depth"])


def run_real(collection: str, lists_by_depth: dict[int, int], device: str) -> dict[str, Any]:
    """Measure HeadRank and the eager recipe at each number of candidates.

    The eager recipe keeps the matrices of all layers if they fit into memory, otherwise those of one layer at a time.

    Args:
        collection: the collection of the candidate lists.
        lists_by_depth: number of candidates -> number of lists.
        device: the torch device.

    Returns:
        The seconds per query, and whether the rankings are equal.
    """
    heads, depth = selected_heads()
    settings, prompt = BackboneSettings(device=device), PromptSettings(max_passage_tokens=MAX_PASSAGE_TOKENS)
    shared = Shared(load_language_model(settings), settings)
    found = candidate_lists(load_collection(collection), kind="bm25", depth=max(lists_by_depth)).lists
    if all(len(item) < max(lists_by_depth) for item in found):
        raise ValueError(f"expected a query with {max(lists_by_depth)} candidates, {collection} has none")
    rows = []
    for candidates, count in lists_by_depth.items():
        # Queries with enough candidates for the longest lists; the same queries at every depth.
        lists = [item.top(candidates) for item in found if len(item) == max(lists_by_depth)][:count]
        tokens = candidates * (MAX_PASSAGE_TOKENS + FRAME)
        frugal = eager_bytes(shared.shape, tokens) + MARGIN > device_memory(shared.whole.device).free
        calls = {
            systems.OURS: systems.scorer_call(shared, shared.backbone(depth), heads, lists, prompt=prompt),
            systems.EAGER: systems.eager_call(shared, heads, lists, frugal=frugal, prompt=prompt),
        }
        logger.info("real lists: %d of %d candidates%s", len(lists), candidates, ", frugal recipe" if frugal else "")
        samples = take_turns(calls, 1)
        ours, eager = (samples[name].result for name in calls)
        pairs = list(zip(ours.rankings, eager.rankings, strict=True))
        differences = [
            abs(dict(zip(b.passage_ids, b.scores, strict=True))[id] - score)
            for a, b in pairs
            for id, score in zip(a.passage_ids, a.scores, strict=True)
        ]
        rows.append(
            {
                "candidates": candidates,
                "lists": len(lists),
                "frugal": frugal,
                "tokens_a_list": ours.tokens / len(lists),
                "same_order": sum(a.passage_ids == b.passage_ids for a, b in pairs),
                "largest_difference": max(differences),
                "seconds_a_list": {name: taken.seconds / len(lists) for name, taken in samples.items()},
                "peak_mib": {name: taken.peak_mib for name, taken in samples.items()},
                "samples": {name: taken.to_dict() for name, taken in samples.items()},
            }
        )
    return {"collection": collection, "layers": f"{depth} of {len(shared.decoder.layers)}", "rows": rows}
