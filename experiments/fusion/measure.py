"""Compare forms of fusion with the first stage. See README.md.

Weights are fitted on the labelled lists, each scored by heads that were selected on other lists (5 folds). The tests
are score files of `experiments.alignment.evaluate`: z of a system on each candidate list.
"""

import argparse
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.calibration.measure import CRITERION, DEPTH, MAX_PASSAGE_TOKENS, SCORERS, SEEDS
from experiments.zero_shot.read import load
from experiments.zero_shot.reading import read_lists
from experiments.zero_shot.systems import training_table
from headrank.data import load_collection
from headrank.evaluation import compare, mean, score_queries
from headrank.heads import cross_fitted_scores, fit_fusion, ndcg
from headrank.heads.cross_fitting import CROSS_FITTED
from headrank.heads.fusion import WEIGHTS
from headrank.model import BackboneSettings, PromptSettings, load_backbone
from headrank.model.fusion import fuse_first_stage
from headrank.ranking import CandidateList, Ranking

METRIC = "ndcg@10"
RRF = 60  # the constant of reciprocal rank fusion (Cormack et al., SIGIR 2009)


class Scored(NamedTuple):
    """z and the first stage's scores of a candidate list: [docs] each, in first-stage order."""

    z: Tensor
    first: Tensor


def standardised(values: Tensor) -> Tensor:
    """Return the values with mean 0 and standard deviation 1; zeros if all are equal."""
    std = values.std(correction=0)
    return (values - values.mean()) / std if std > 0 else values * 0


def reciprocal(z: Tensor) -> Tensor:
    """Return 1 / (60 + rank), with ranks from 1 by z; equal z in first-stage order."""
    ranks = z.argsort(descending=True, stable=True).argsort() + 1
    return 1 / (RRF + ranks.double())


def by_rank(one: Scored, weight: float) -> Tensor:
    """Fuse as HeadRank does: standardised z and ranks."""
    return fuse_first_stage(one.z.float(), weight)


def by_score(one: Scored, weight: float) -> Tensor:
    """Add the first stage's standardised scores."""
    return standardised(one.z) + weight * standardised(one.first)


def by_reciprocal_rank(one: Scored, weight: float) -> Tensor:
    """Add reciprocal ranks; weight 1 is reciprocal rank fusion."""
    return reciprocal(one.z) + weight * reciprocal(-torch.arange(len(one.z)).double())


FORMS: Mapping[str, Callable[[Scored, float], Tensor]] = {
    "ranks, standardised": by_rank,
    "scores, standardised": by_score,
    "reciprocal ranks": by_reciprocal_rank,
}


def fitted_weights(train: str, cache: Path, calibration: str, dtype: str) -> dict[str, float]:
    """Fit the weight of each form on the labelled lists, print the curves, and return the weights.

    Args:
        train: the labelled collection.
        cache: the cache folder, which `experiments.calibration.measure` shares.
        calibration: a name of `SCORERS`.
        dtype: the dtype of the weights.
    """
    lists = load(train, DEPTH, cache).lists
    backbone = load_backbone(BackboneSettings(dtype=dtype))
    prompts = PromptSettings(max_passage_tokens=MAX_PASSAGE_TOKENS)
    orders = [
        read_lists(cache / f"train-{DEPTH}-shuffled{seed}.safetensors", backbone, prompts, lists, "shuffled", seed=seed)
        for seed in SEEDS
    ]
    table = training_table(lists, load_collection(train.partition(":")[0]).qrels, orders)
    scorer, items = SCORERS[calibration], {item.query.id: item for item in lists}
    ids = [one.query_id for _, held_out in table.folds(5, 0) for one in held_out]
    scores = cross_fitted_scores(table, CRITERION, scorer)
    each = [Scored(torch.tensor(one.z).double(), first_scores(items[i])) for i, one in zip(ids, scores, strict=True)]
    fit = fit_fusion(scores, CROSS_FITTED)
    print(f"\n{calibration}, {len(each)} labelled lists; HeadRank's fit: {fit.summary if fit else None}")
    print("| form | " + " | ".join(f"{weight:g}" for weight in WEIGHTS) + " |\n" + "| --- " * (len(WEIGHTS) + 1) + "|")
    weights = {}
    for name, fuse in FORMS.items():
        means = [
            mean(
                [
                    float(ndcg(fuse(a, w)[None].float(), torch.tensor(b.grades))[0])
                    for a, b in zip(each, scores, strict=True)
                ]
            )
            for w in WEIGHTS
        ]
        weights[name] = WEIGHTS[means.index(max(means))]
        print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in means) + " |")
    return weights


def first_scores(item: CandidateList) -> Tensor:
    """Return the first stage's scores of a candidate list: [docs]."""
    assert item.first_stage_scores is not None
    return torch.tensor(item.first_stage_scores).double()


def evaluate(file: Path, cache: Path, weights: Mapping[str, float]) -> None:
    """Print a row: nDCG@10 of the first stage, without fusion and with each form, with p values.

    Args:
        file: a score file of `experiments.alignment.evaluate`.
        cache: the cache folder.
        weights: form -> weight.
    """
    stored = json.loads(file.read_text())
    found = load(stored["source"], stored["depth"], cache)
    qrels = load_collection(stored["source"].partition(":")[0]).qrels
    ids = [*(item.query.id for item in found.lists), *found.queries_without_candidates]
    each = [Scored(torch.tensor(row["z"]).double(), first_scores(item))
            for item, row in zip(found.lists, stored["lists"], strict=True)]  # fmt: skip

    def measured(scores: Sequence[Tensor]) -> Sequence[float]:
        run = {
            item.query.id: Ranking.from_scores(item.query.id, item.passage_ids, values.tolist())
            for item, values in zip(found.lists, scores, strict=True)
        }
        return score_queries(run, qrels, query_ids=ids, metrics=[METRIC])[METRIC]

    first = measured([-torch.arange(len(one.z)).double() for one in each])
    plain = measured([one.z for one in each])
    cells = [f"{mean(first):.4f}", f"{mean(plain):.4f} ({compare(plain, first).p_randomization:.3f})"]
    for name, fuse in FORMS.items():
        values = measured([fuse(one, weights[name]) for one in each])
        against = compare(values, first).p_randomization, compare(values, plain).p_randomization
        cells.append(f"{mean(values):.4f} ({against[0]:.3f}; {against[1]:.3f})")
    print(f"| {file.stem}, {stored['system']} ({len(ids)}) | " + " | ".join(cells) + " |")


def main() -> None:
    """Read the labelled lists if that was not done yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", required=True, help="the labelled collection: SOURCE[:MAX_QUERIES]")
    parser.add_argument("--calibration", default="log_ratio", choices=list(SCORERS))
    parser.add_argument("--output", type=Path, default=Path("outputs/calibration"), help="the cache folder")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("scores", nargs="*", type=Path, help="score files of experiments.alignment.evaluate")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    weights = fitted_weights(options.train, options.output, options.calibration, options.dtype)
    print("\nnDCG@10; in brackets p against the first stage, with fusion also against no fusion")
    print("| test, system (queries) | first stage | no fusion | "
          + " | ".join(f"{name}, {weight:g}" for name, weight in weights.items()) + " |")  # fmt: skip
    print("| --- " * (3 + len(FORMS)) + "|")
    for file in options.scores:
        evaluate(file, options.output, weights)


if __name__ == "__main__":
    main()
