import math
import random
from functools import cache

import pytest

from headrank.evaluation import RunResults, SystemRun, score_benchmark
from headrank.evaluation.examples import Example, ExplainedRanking
from headrank.explanation import Explanation, PassageExplanation, TokenContribution
from headrank.ranking import ContextScores, Ranking

METRICS = ("ndcg@10", "mrr@10", "map@100", "recall@100", "judged@10")


@pytest.fixture(scope="session")
def make_benchmark():
    """A made-up benchmark: a first stage, a better system and a random one, over shuffled lists of 20 passages.

    The same arguments give the same result object: results are frozen, and scoring one takes a while.
    """

    @cache
    def make(
        name="dl20", *, queries=30, seed=0, systems=("first stage", "headrank", "random"), metrics=METRICS, probable=()
    ):
        rng = random.Random(seed)
        power = {"first stage": 0.5, "headrank": 1.5}
        qrels, runs, contexts = {}, {s: {} for s in systems}, {s: [] for s in systems}
        for q in (f"q{i}" for i in range(queries)):
            passages = [f"{q}-d{i}" for i in range(20)]
            qrels[q] = {p: rng.choice((0, 0, 0, 1, 2, 3)) for p in passages[:15]}
            for system in systems:
                scores = [power.get(system, 0.0) * qrels[q].get(p, 0) + rng.gauss(0, 1) for p in passages]
                runs[system][q] = Ranking.from_scores(q, passages, scores)
                masses = tuple(2.0**score for score in scores)
                contexts[system].append(ContextScores(q, tuple(passages), tuple(scores), masses))
        probabilities = {
            system: {
                q: {r.id: 1 / (1 + math.exp(1.5 - r.score)) for r in ranking.results} for q, ranking in run.items()
            }
            for system, run in runs.items()
            if system in probable
        }
        origins = {system: f"labels of {system}" for system in probable}
        return score_benchmark(
            name,
            {
                system: SystemRun(
                    runs[system], tuple(contexts[system]), probabilities.get(system, {}), origins.get(system, "")
                )
                for system in systems
            },
            qrels,
            query_ids=tuple(qrels),
            relevance_threshold=2,
            reference=systems[0],
            metrics=metrics,
        )

    return make


@pytest.fixture(scope="session")
def heads():
    """The part of a `heads.json` that reports read: 6 layers of 4 heads, 3 of them chosen, one never measured."""
    rng = random.Random(1)

    def grid():
        return [[rng.random() for _ in range(4)] for _ in range(6)]

    table = {"discriminability": grid(), "entropy": grid(), "score": grid()}
    table["score"][5] = [None] * 4
    return {"heads": [{"layer": 2, "head": 1}, {"layer": 4, "head": 3}, {"layer": 3, "head": 0}], "table": table}


@pytest.fixture(scope="session")
def make_run(make_benchmark):
    """A run of made-up results."""

    def make(benchmarks=None, *, systems=("first stage", "headrank", "random"), **changes):
        benchmarks = benchmarks or [make_benchmark(systems=tuple(systems))]
        return RunResults(
            **{"metric": "ndcg@10", "main": "headrank", "name": "a", **changes, "benchmarks": (*benchmarks,)}
        )

    return make


@pytest.fixture(scope="session")
def example():
    """An example with hostile texts."""

    def ranking(system, value):
        tokens = (TokenContribution(0, 4, 0.5), TokenContribution(5, 15, -0.25))
        passage = PassageExplanation("d7", 0, 1, 0.25, "blue <b>sky</b>", tokens)
        return ExplainedRanking(system, value, {"d7": 2}, Explanation("why <i>?", (passage,), "score", "log_ratio"))

    rankings = (ranking("zero-shot", 0.25), ranking("headrank", 0.75))
    return Example("q1", "why <i>?", "ndcg@10", "zero-shot", 0.25, rankings)


@pytest.fixture(scope="session")
def full_run(make_run, make_benchmark, heads, example):
    """A run that has all that a report can show: aligned, timed, its heads selected again."""
    pairs = heads["heads"]
    after = {**heads, "heads": [*pairs[:2], {"layer": 5, "head": 2}], "model": {"id": "Qwen/Qwen3-0.6B"}}
    epochs = [
        {"train/loss": 3.0, "train/preference": 2.0, "train/graded_kl": 1.0, "val/ndcg@10": 0.5},
        {"train/loss": 2.0, "train/preference": 1.5, "train/graded_kl": 0.5, "val/ndcg@10": 0.7},
        {"train/loss": 1.0, "train/preference": 0.8, "train/graded_kl": 0.2, "val/ndcg@10": 0.6},
    ]
    more = {"val/selectivity": 0.1, "heads/overlap": 0.75, "heads/depth": 6.0}
    systems = ("first stage", "headrank", "zero-shot", "random")
    return make_run(
        [make_benchmark(systems=systems, probable=("headrank", "zero-shot"))],
        before="zero-shot",
        examples={"dl20": (example,)},
        heads=after,
        heads_before=heads,
        head_curves={
            "heads": [[1, 0.5], [2, 0.6], [3, 0.65], [4, 0.6]],
            "depth": [[4, 0.5], [5, 0.6], [6, 0.65]],
            "used": {"heads": 3, "depth": 5},
            "lists": 12,
            "folds": 5,
            "criterion": "entropy_regularized",
        },
        epochs=tuple({"epoch": float(i), **epoch, **more} for i, epoch in enumerate(epochs)),
        passes={(s, "dl20"): {"seconds": 90.0, "lists": 30} for s in ("headrank", "zero-shot")},
    )
