import random

import pytest

from headrank.evaluation import SystemRun, score_benchmark
from headrank.ranking import ContextScores, Ranking

METRICS = ("ndcg@10", "mrr@10", "map@100", "recall@100", "judged@10")


@pytest.fixture
def make_benchmark():
    """A made-up benchmark: a first stage, a better system and a random one, over shuffled lists of 20 passages."""

    def make(name="dl20", *, queries=30, seed=0, systems=("first stage", "headrank", "random"), metrics=METRICS):
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
        return score_benchmark(
            name,
            {system: SystemRun(runs[system], tuple(contexts[system])) for system in systems},
            qrels,
            query_ids=tuple(qrels),
            relevance_threshold=2,
            reference=systems[0],
            metrics=metrics,
        )

    return make


@pytest.fixture
def heads():
    """The part of a `heads.json` that reports read: 6 layers of 4 heads, 3 of them chosen, one never measured."""
    rng = random.Random(1)

    def grid():
        return [[rng.random() for _ in range(4)] for _ in range(6)]

    table = {"discriminability": grid(), "entropy": grid(), "score": grid()}
    table["score"][5] = [None] * 4
    return {"heads": [{"layer": 2, "head": 1}, {"layer": 4, "head": 3}, {"layer": 3, "head": 0}], "table": table}
