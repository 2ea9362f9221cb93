"""Compare ways to rerank a candidate list that is longer than a prompt should be, by quality and cost. See README.md.

python -m experiments.long_lists.measure HEADS.json COLLECTION --depth 100 --window 20 --output results.json
"""

import argparse
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from headrank.baselines.windows import SlidingWindows
from headrank.data import candidate_lists, load_collection
from headrank.evaluation import compare, mean, score_queries
from headrank.heads import HeadsFile
from headrank.io.files import atomic_write
from headrank.logs import set_up_logging
from headrank.model import BackboneSettings, Scorer, load_backbone
from headrank.ranking import CandidateList, Ranking

logger = logging.getLogger(__name__)


class Reader:
    """Scores parts of a list; counts prompt tokens and floating-point operations."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.tokens, self.flops = scorer, 0, 0

    def read(self, item: CandidateList, parts: Sequence[Sequence[int]]) -> list[dict[int, float]]:
        """Score each part in a prompt that holds only this part.

        Args:
            item: the candidate list.
            parts: for each part, its candidates as first-stage positions (from 0), in context order.

        Returns:
            For each part: candidate -> z.
        """
        lists = [
            replace(item, passages=tuple(item.passages[i] for i in part), first_stage_scores=None) for part in parts
        ]
        found = []
        for part, scored in zip(parts, self.scorer.score(lists), strict=True):
            self.tokens += scored.tokens
            self.flops += scored.flops
            numbers = {item.passages[i].id: i for i in part}
            found.append({numbers[result.id]: result.score for result in scored.ranking.results})
        return found


def whole(reader: Reader, item: CandidateList, window: int) -> list[int]:
    """Rank the whole candidate list in one prompt."""
    (scores,) = reader.read(item, [range(len(item))])
    return list(scores)


def blocks(reader: Reader, item: CandidateList, window: int) -> list[int]:
    """Rank windows of neighbouring candidates and merge them by z."""
    parts = [range(start, min(start + window, len(item))) for start in range(0, len(item), window)]
    return _merged(reader.read(item, parts))


def dealt(reader: Reader, item: CandidateList, window: int) -> list[int]:
    """Rank windows and merge them by z. Of W windows, window w holds the candidates w, w + W, w + 2W, ..."""
    return _merged(reader.read(item, _deal(range(len(item)), window)))


def tournament(reader: Reader, item: CandidateList, window: int) -> list[int]:
    """Rank windows as in `dealt`. Read the better half of each again, until one window is left."""
    left, out = list(range(len(item))), []
    while len(left) > window:
        scores = reader.read(item, _deal(left, window))
        order = _merged(scores)
        kept = {i for part in scores for i in sorted(part, key=lambda i: -part[i])[: (len(part) + 1) // 2]}
        out = [i for i in order if i not in kept] + out
        left = [i for i in order if i in kept]
    (scores,) = reader.read(item, [sorted(left)])
    return [*scores, *out]


def top_again(reader: Reader, item: CandidateList, window: int) -> list[int]:
    """Rank windows and merge them by z as in `dealt`. Read the best window again."""
    order = dealt(reader, item, window)
    (scores,) = reader.read(item, [sorted(order[:window])])
    return [*scores, *order[window:]]


def sliding(reader: Reader, item: CandidateList, window: int) -> list[int]:
    """Rank RankGPT's windows from the end of the candidate list to its start, in steps of half a window."""
    windows = SlidingWindows(len(item), window=window, step=window // 2)
    while part := windows.current:
        (scores,) = reader.read(item, [part])
        windows.permute([part.index(i) for i in scores])
    return windows.order


WAYS: dict[str, Callable[[Reader, CandidateList, int], list[int]]] = {
    way.__name__: way for way in (whole, blocks, dealt, top_again, tournament, sliding)
}


def _deal(candidates: Sequence[int], window: int) -> list[list[int]]:
    count = -(-len(candidates) // window)
    return [list(candidates[start::count]) for start in range(count)]


def _merged(scores: Sequence[dict[int, float]]) -> list[int]:
    together = {i: z for part in scores for i, z in part.items()}
    return sorted(together, key=lambda i: (-together[i], i))


def main() -> None:
    """Measure every way on the collection and write the results."""
    parser = argparse.ArgumentParser(description="Ways to rerank a list that is longer than a prompt should be.")
    parser.add_argument("heads", type=Path)
    parser.add_argument("collection")
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--every", type=int, default=1, help="read every n-th query only")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    set_up_logging()
    file = HeadsFile.load(options.heads)
    backbone = load_backbone(
        BackboneSettings(file.model["id"], file.model["revision"], options.dtype), depth=file.depth
    )
    scorer = Scorer(backbone, file.heads, weights=file.weights, prompt=file.prompt, settings=file.scorer)
    collection = load_collection(options.collection)
    lists = candidate_lists(collection, kind="run", depth=options.depth).lists[:: options.every]
    found: dict[str, dict[str, float]] = {}
    first = {
        item.query.id: Ranking.from_scores(item.query.id, item.passage_ids, range(len(item), 0, -1)) for item in lists
    }
    ndcg = score_queries(first, collection.qrels, metrics=["ndcg@10"], query_ids=list(first))["ndcg@10"]
    found["first stage"] = {"ndcg@10": mean(ndcg)}
    per_query = {"first stage": ndcg}
    for name in options.ways:
        reader, run = Reader(scorer), {}
        start, cpu = time.perf_counter(), time.process_time()
        for item in lists:
            order = WAYS[name](reader, item, options.window)
            ids = [item.passage_ids[i] for i in order]
            run[item.query.id] = Ranking.from_scores(item.query.id, ids, range(len(ids), 0, -1))
        values = score_queries(run, collection.qrels, metrics=["ndcg@10"], query_ids=list(run))["ndcg@10"]
        per_query[name] = values
        found[name] = {
            "ndcg@10": mean(values),
            "tokens": reader.tokens / len(lists),
            "gflop": reader.flops / len(lists) / 1e9,
            "cpu_seconds": (time.process_time() - cpu) / len(lists),
            "seconds": (time.perf_counter() - start) / len(lists),
        }
        for other, of_other in per_query.items():
            if other != name:
                found[name][f"p against {other}"] = compare(values, of_other).p_randomization
        logger.info("%s: %s", name, found[name])
        with atomic_write(options.output) as out:
            json.dump(
                {
                    "queries": len(lists),
                    "depth": options.depth,
                    "window": options.window,
                    "ways": found,
                    "ndcg@10 per query": per_query,
                },
                out,
                indent=1,
            )


if __name__ == "__main__":
    main()
