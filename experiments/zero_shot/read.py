"""Compute the scores of all heads for the zero-shot study (about 40 minutes on two idle cores). See README.md."""

import argparse
import json
import logging
from pathlib import Path

from experiments.zero_shot.reading import read_lists
from headrank.data import candidate_lists, load_collection
from headrank.data.candidates import CandidateLists
from headrank.io.files import atomic_write
from headrank.model import BackboneSettings, PromptSettings, load_backbone

MAX_PASSAGE_TOKENS = 96  # longer passages are truncated: MS MARCO's have about 75 tokens, BEIR's up to several hundred
TRAIN_SEEDS = (0, 1, 2)  # seeds of the shuffled context orders of the labelled lists


def load(source: str, depth: int, cache: Path) -> CandidateLists:
    """Load the candidate lists of a source. A folder with one run uses that run, any other source uses BM25.

    Args:
        source: a collection, or `COLLECTION:MAX_QUERIES`.
        depth: the number of candidates per query.
        cache: the cache folder.
    """
    name, _, most = source.partition(":")
    collection = load_collection(name)
    return candidate_lists(
        collection,
        kind="run" if len(collection.runs) == 1 else "bm25",
        depth=depth,
        max_queries=int(most) if most else None,
        drop_identical_ids="arguana" in name,
        cache_dir=cache,
    )


def main() -> None:
    """Compute all scores that do not exist yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--train", required=True, help="the labelled collection for head selection: SOURCE[:MAX_QUERIES]"
    )
    parser.add_argument("--test", action="append", required=True, help="NAME=SOURCE[:MAX_QUERIES]@DEPTH:ORDER,ORDER")
    parser.add_argument("--output", type=Path, default=Path("outputs/zero_shot"))
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument(
        "--dtype", default="float32", help="bfloat16 is some three times as fast on processors that have it"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    backbone = load_backbone(BackboneSettings(model=options.model, dtype=options.dtype))
    prompts = PromptSettings(max_passage_tokens=MAX_PASSAGE_TOKENS)
    output: Path = options.output
    train = load(options.train, 20, output)
    for seed in TRAIN_SEEDS:
        path = output / f"train-20-shuffled{seed}.safetensors"
        read_lists(path, backbone, prompts, train.lists, "shuffled", seed=seed)
    tests = []
    for entry in options.test:
        name, _, rest = entry.partition("=")
        source, _, how = rest.rpartition("@")
        depth, _, orders = how.partition(":")
        tests.append({"name": name, "source": source, "depth": int(depth), "orders": orders.split(",")})
        lists = load(source, int(depth), output).lists
        for order in orders.split(","):
            path = output / f"{name}-{depth}-{order}.safetensors"
            read_lists(path, backbone, prompts, lists, order)
    with atomic_write(output / "study.json") as file:
        json.dump(
            {"model": options.model, "dtype": options.dtype, "train": options.train, "tests": tests}, file, indent=1
        )


if __name__ == "__main__":
    main()
