"""Measure how well probabilities of relevance, fitted on one collection, hold on others. See README.md."""

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.zero_shot.read import load
from experiments.zero_shot.reading import ListScores, read_lists
from experiments.zero_shot.systems import training_table
from headrank.data import load_collection
from headrank.evaluation import ProbabilityQuality, measure_probabilities
from headrank.heads import EntropyRegularized, HeadTable, ProbabilityCalibration, select_heads
from headrank.heads.cross_fitting import CROSS_FITTED
from headrank.heads.probability import fit_platt
from headrank.model import BackboneSettings, Head, HeadScores, PromptSettings, ScorerSettings, load_backbone
from headrank.model import passage_scores as score
from headrank.ranking import CandidateList, Qrels

MAX_PASSAGE_TOKENS = 96  # as in the other studies
SEEDS = (0, 1)  # of the shuffled context orders of the labelled lists
CRITERION = EntropyRegularized()  # the default: 8 heads by discriminability - .1 entropy
SCORERS = {"residual": ScorerSettings(), "log_ratio": ScorerSettings(calibration="log_ratio")}
DEPTH = 20  # candidates per query

Labelled = list[tuple[list[float], list[bool]]]
"""z and relevance of each list's passages."""
Map = Callable[[Sequence[float]], Sequence[float]]


def logistic(lists: Labelled, _: str) -> Map:
    """Fit Platt scaling of z itself."""
    z, relevant = flat(lists)
    slope, intercept = fit_platt(z, relevant)
    return lambda values: (1 / (1 + np.exp(-(slope * np.asarray(values) + intercept)))).tolist()


def isotonic(lists: Labelled, _: str) -> Map:
    """Fit isotonic regression, linear between the values of z in `lists` and constant beyond them."""
    from scipy.optimize import isotonic_regression

    z, relevant = flat(lists)
    order = np.argsort(z)
    fitted = isotonic_regression(relevant[order].astype(float)).x
    return lambda values: np.interp(values, z[order], fitted).tolist()


def calibrated(lists: Labelled, name: str) -> ProbabilityCalibration:
    """Fit HeadRank's probability calibration. `name` is the collection of the lists."""
    found = ProbabilityCalibration.fit(lists, {name: 2}, protocol=CROSS_FITTED)
    assert found is not None
    return found


MAPS = {"asinh(z), logistic": calibrated, "z, logistic": logistic, "z, isotonic": isotonic}


def flat(lists: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """Return z and relevance of the passages of all lists, as two arrays [passages]."""
    z = np.array([value for scores, _ in lists for value in scores])
    return z, np.array([value for _, labels in lists for value in labels], dtype=bool)


def quality(lists: Labelled, apply: Map) -> ProbabilityQuality:
    """Return how well the probabilities that `apply` gives agree with the relevance in `lists`."""
    probabilities, qrels = {}, {}
    for n, (z, relevant) in enumerate(lists):
        probabilities[str(n)] = dict(zip(map(str, range(len(z))), apply(z), strict=True))
        qrels[str(n)] = dict(zip(map(str, range(len(z))), map(int, relevant), strict=True))
    found = measure_probabilities(probabilities, qrels, query_ids=list(qrels))
    assert found is not None
    return found


def cross_fitted_lists(
    table: HeadTable, scorer: ScorerSettings, other: Mapping[str, HeadScores] | None = None
) -> Labelled:
    """Return z and relevance of each labelled list, with z by heads selected on the other folds.

    Args:
        table: the head table.
        scorer: the calibration of head scores.
        other: query id -> head scores from which z is computed instead of the table's; None: those of the table.
    """
    lists = []
    for rest, held_out in table.folds(5, 0):
        heads = select_heads(rest, CRITERION, scorer).heads
        for one in held_out:
            scores = one.scores if other is None else other[one.query_id]
            lists.append((score(scores.pick(heads), scorer).tolist(), one.relevant.tolist()))
    return lists


@dataclass(frozen=True)
class Test:
    """A collection to test on: its candidate lists, and the head scores of each in first-stage order."""

    name: str
    lists: Sequence[CandidateList]
    scores: Sequence[ListScores]
    qrels: Qrels

    def labelled(self, heads: Sequence[Head], scorer: ScorerSettings) -> Labelled:
        """Return z and relevance of each candidate list; unjudged passages are irrelevant."""
        threshold = 1 if self.name in ("nfcorpus", "arguana") else 2
        lists = []
        for item, one in zip(self.lists, self.scores, strict=True):
            judged = self.qrels.get(item.query.id, {})
            z = score(one.scores.pick(heads), scorer).tolist()
            lists.append((z, [judged.get(passage, 0) >= threshold for passage in item.passage_ids]))
        return lists


def report(table: HeadTable, tests: Sequence[Test], name: str) -> None:
    """Print the tables of one calibration of head scores."""
    scorer = SCORERS[name]
    heads, fit = select_heads(table, CRITERION, scorer).heads, cross_fitted_lists(table, scorer)
    maps = {label: make(fit, "train") for label, make in MAPS.items()}
    print(f"\n{name}: {len(fit)} lists, {len(flat(fit)[0])} passages, {flat(fit)[1].mean():.3f} relevant")
    print("| test | relevant | mean P | Brier of the share | " + " | ".join(f"{m}: Brier, ECE" for m in maps) + " |")
    print("| --- " * (4 + len(maps)) + "|")
    for test in tests:
        lists = test.labelled(heads, scorer)
        found = [quality(lists, one) for one in maps.values()]
        cells = [f"{one.brier:.4f}, {one.error:.3f}" for one in found]
        first = f"{found[0].relevant:.3f} | {found[0].predicted:.3f} | {found[0].constant_brier:.4f}"
        print(f"| {test.name} ({len(lists)}, {found[0].passages}) | {first} | " + " | ".join(cells) + " |")
    for test in tests:
        if test.name == "train":
            by_id = {item.query.id: one.scores for item, one in zip(test.lists, test.scores, strict=True)}
            other = cross_fitted_lists(table, scorer, by_id)
            for label, lists in (("mean of shuffled orders", fit), ("first-stage order", other)):
                found = quality(other, calibrated(lists, "train"))
                print(f"fitted on the {label}, tested on first-stage order: {found.brier:.4f}, {found.error:.3f}")


def main() -> None:
    """Read what does not exist yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", required=True, help="the labelled collection: SOURCE[:MAX_QUERIES], grade 2")
    parser.add_argument(
        "--test",
        action="append",
        required=True,
        help="NAME=SOURCE[:MAX_QUERIES][@DEPTH]; the name train: the same lists",
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/calibration"))
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    prompts, output = PromptSettings(max_passage_tokens=MAX_PASSAGE_TOKENS), options.output
    backbone = load_backbone(BackboneSettings(dtype=options.dtype))
    train = load(options.train, DEPTH, output)
    orders = [
        read_lists(
            output / f"train-20-shuffled{seed}.safetensors", backbone, prompts, train.lists, "shuffled", seed=seed
        )
        for seed in SEEDS
    ]
    table = training_table(train.lists, load_collection(options.train.partition(":")[0]).qrels, orders)
    tests = []
    for entry in options.test:
        name, _, rest = entry.partition("=")
        source, _, candidates = rest.partition("@")
        depth = int(candidates or DEPTH)
        lists = load(source, depth, output).lists
        path = output / f"{name}-{depth}-first_stage.safetensors"
        scores = read_lists(path, backbone, prompts, lists, "first_stage")
        tests.append(Test(name, lists, scores, load_collection(source.partition(":")[0]).qrels))
    for name in SCORERS:
        report(table, tests, name)


if __name__ == "__main__":
    main()
