"""Measure the median seconds per query of each system at its depth, with the scorer of real runs, in one process.

The calls of the systems are interleaved.

python -m experiments.zero_shot.time_systems --collection FOLDER
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from experiments.zero_shot.read import MAX_PASSAGE_TOKENS, load
from headrank.model import BackboneSettings, Head, PromptSettings, Scorer, ScorerSettings, all_heads, load_backbone

LISTS = 5
SYSTEMS = {
    "all heads, residual 0.5": ScorerSettings(),
    "8 random heads, residual 0.5": ScorerSettings(),
    "8 heads by disc - .1 H, residual 0.5": ScorerSettings(),
    "8 heads by disc - .1 H, none": ScorerSettings(calibration="none"),
}


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collection", required=True)
    parser.add_argument("--output", type=Path, default=Path("outputs/zero_shot"))
    options = parser.parse_args()
    record = json.loads((Path(__file__).parent / "results.json").read_text())
    seconds: dict[tuple[str, int], list[float]] = {}
    scorers, depths = {}, {}
    for name, settings in SYSTEMS.items():
        depth = depths[name] = record[name]["depth"]
        backbone = load_backbone(BackboneSettings(), depth=depth)
        heads = [Head(*pair) for pair in record[name]["heads"]]
        if name == "all heads, residual 0.5":
            heads = list(all_heads(depth, backbone.heads_per_layer))
        prompt = PromptSettings(max_passage_tokens=MAX_PASSAGE_TOKENS)
        scorers[name] = Scorer(backbone, heads, prompt=prompt, settings=settings)
    for candidates in (20, 40):
        lists = load(f"{options.collection}:{LISTS}", candidates, options.output).lists
        for scorer in scorers.values():
            scorer.score(lists[:1])  # warm-up
        for item in lists:
            for name, scorer in scorers.items():
                begin = time.perf_counter()
                scorer.score([item])
                seconds.setdefault((name, candidates), []).append(time.perf_counter() - begin)
    print("| system | layers | top 20, s a query | top 40, s a query |\n| --- | ---: | ---: | ---: |")
    for name in scorers:
        medians = [statistics.median(seconds[name, candidates]) for candidates in (20, 40)]
        print(f"| {name} | {depths[name]} | {medians[0]:.2f} | {medians[1]:.2f} |")


if __name__ == "__main__":
    main()
