"""Score the test lists of alignment runs with the heads before and after training, at several depths and orders.

`python -m headrank.run` reranks in one context order. This script scores the same candidate lists with a run's
`heads.json` (on the start model) and its `checkpoint/`, once per test, depth and order. Existing outputs are reused, so
the script can be interrupted and resumed. `table.py` evaluates the outputs. README.md has the commands.
"""

import argparse
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from experiments.zero_shot.read import load
from headrank.heads import HeadsFile
from headrank.io.artifacts import artifact_key
from headrank.io.files import atomic_write
from headrank.model import Backbone, BackboneSettings, Scorer, load_backbone

ZERO_SHOT, ALIGNED = "zero-shot", "aligned"


class Systems:
    """The two systems of a run, before and after alignment. Only one is in memory at a time.

    run: the run folder.
    dtype: the dtype of the weights.
    """

    def __init__(self, run: Path, dtype: str) -> None:
        self.run, self.dtype = run, dtype
        self._loaded: tuple[str, Backbone] | None = None

    def heads(self, system: str) -> HeadsFile:
        """Return the heads file of a system, `zero-shot` or `aligned`."""
        return HeadsFile.load(self.run / ("heads.json" if system == ZERO_SHOT else "checkpoint/heads.json"))

    def key(self, system: str) -> str:
        """Return the folder name of a system's scores.

        Runs that start from the same heads share the scores of the start model.
        """
        heads = self.heads(system)
        parts = [heads.model["id"], self.dtype, [list(h) for h in heads.heads], list(heads.weights)]
        scorer = {name: value for name, value in heads.scorer.identity.items() if name not in ("order", "seed")}
        if system == ALIGNED:
            parts.append((self.run / "training/key.json").read_text())
        return artifact_key(*parts, scorer, asdict(heads.prompt))[:16]

    def backbone(self, system: str) -> Backbone:
        """Load the system's model up to its deepest head, or return it if it is already loaded."""
        if self._loaded is None or self._loaded[0] != system:
            heads = self.heads(system)
            model = str(heads.model["id"]) if system == ZERO_SHOT else str(self.run / "checkpoint")
            self._loaded = None
            self._loaded = (system, load_backbone(BackboneSettings(model=model, dtype=self.dtype), depth=heads.depth))
        return self._loaded[1]


def read(systems: Systems, system: str, source: str, depth: int, order: str, cache: Path, path: Path) -> None:
    """Write z (in first-stage order) and the context order of every candidate list, unless the file exists.

    Args:
        systems: the systems of a run.
        system: `zero-shot` or `aligned`.
        source: the test, `SOURCE[:MAX_QUERIES]`, see `experiments.zero_shot.read.load`.
        depth: the number of candidates per query.
        order: the context order, such as `reversed`.
        cache: the cache folder.
        path: the file to write.
    """
    if path.is_file():
        return
    heads = systems.heads(system)
    settings = replace(heads.scorer, order=order, seed=0, fusion=0.0)
    scorer = Scorer(
        systems.backbone(system), heads.heads, weights=heads.weights, prompt=heads.prompt, settings=settings
    )
    lists = load(source, depth, cache).lists
    with tqdm(total=len(lists), desc=f"{path.stem} {system}", unit="list") as bar:
        scored = scorer.score(lists, on_list=lambda: bar.update())
    rows = []
    for item, one in zip(lists, scored, strict=True):
        assert one.context.scores is not None
        z = dict(zip(one.context.passage_ids, one.context.scores, strict=True))
        rows.append(
            {
                "query_id": item.query.id,
                "z": [z[passage_id] for passage_id in item.passage_ids],
                "order": [item.passage_ids.index(passage_id) for passage_id in one.context.passage_ids],
                "masses": one.context.masses,
            }
        )
    with atomic_write(path) as file:
        json.dump({"system": system, "source": source, "depth": depth, "order": order, "lists": rows}, file)


def main() -> None:
    """Score every test whose output does not exist yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="append", required=True, type=Path, help="a run folder with checkpoint/")
    parser.add_argument("--test", action="append", required=True, help="NAME=SOURCE[:MAX_QUERIES]@DEPTH:ORDER,ORDER")
    parser.add_argument("--output", type=Path, default=Path("outputs/alignment"))
    parser.add_argument("--dtype", default="float32", help="bfloat16 is two to three times as fast if there is one")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for run in options.run:
        systems = Systems(run, options.dtype)
        for system in (ZERO_SHOT, ALIGNED):
            folder = options.output / systems.key(system)
            folder.mkdir(parents=True, exist_ok=True)
            for entry in options.test:
                name, _, rest = entry.partition("=")
                source, _, how = rest.rpartition("@")
                depth, _, orders = how.partition(":")
                for order in orders.split(","):
                    path = folder / f"{name}-{depth}-{order}.json"
                    read(systems, system, source, int(depth), order, options.output, path)


if __name__ == "__main__":
    main()
