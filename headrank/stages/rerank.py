"""Rerank: from heads to a TREC run per benchmark and system, with the scores in context order beside it."""

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from headrank.artifacts import RunFolder
from headrank.data import read_run, write_run
from headrank.experiment import FIRST_STAGE_SYSTEM
from headrank.files import atomic_write
from headrank.heads import HeadsFile
from headrank.memory import peak_memory_bytes
from headrank.model import Backbone, BackboneSettings, Scorer, StateSettings, load_backbone
from headrank.ranking import ContextScores, Run
from headrank.stages.keys import run_key
from headrank.stages.lists import BenchmarkData

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RerankedBenchmark:
    """A system's output on a benchmark: rankings, scores in context order, and the facts of the pass."""

    rankings: Run
    contexts: tuple[ContextScores, ...]
    facts: dict[str, Any]  # seconds, lists, tokens, depth, peak memory
    key: str


class RerankStage:
    """Runs the rerank stage of an experiment; a backbone is kept as long as the same one is asked for.

    states: where states of passages are kept, for systems whose prompt is in blocks. In what dtype they are kept is
    part of a run's key, since scores depend on it, and where they are is not.
    """

    def __init__(self, folder: RunFolder, states: StateSettings | None = None) -> None:
        self.folder = folder
        self.states = states
        self._backbone: Backbone | None = None

    def run(
        self, system: str, model: BackboneSettings, identity: dict[str, Any], heads: HeadsFile, benchmark: BenchmarkData
    ) -> RerankedBenchmark:
        """The system's run of the benchmark, read from the run folder where it is fresh.

        identity: what identifies the model's weights, part of the run's key.
        """
        name = f"runs/{system}/{benchmark.settings.name}.trec"
        states = {"states": self.states.dtype} if self.states and heads.prompt.in_blocks and self.states.dtype else {}
        key = run_key({**identity, **states}, heads.to_dict(), benchmark)
        if not _contexts_path(self.folder.path / name).is_file():
            (self.folder.path / name).unlink(missing_ok=True)  # the two are one artifact
        made = self.folder.make(name, key, lambda path: self._rerank(system, model, heads, benchmark, path))
        logger.info("rerank: %s %s", name, "written" if made else "is there already")
        path = self.folder.path / name
        contexts, facts = _read_contexts(_contexts_path(path))
        return RerankedBenchmark(read_run(path), contexts, facts, key)

    def _rerank(
        self, system: str, model: BackboneSettings, heads: HeadsFile, benchmark: BenchmarkData, path: Path
    ) -> None:
        backbone = self._load(model, heads.depth)
        scorer = Scorer(
            backbone,
            heads.heads,
            weights=heads.weights,
            prompt=heads.prompt,
            settings=heads.scorer,
            states=self.states if heads.prompt.in_blocks else None,
        )
        lists = benchmark.candidates.lists
        start = time.perf_counter()
        with tqdm(total=len(lists), desc=f"rerank: {benchmark.settings.name} by {system}", unit="list") as bar:
            scored = scorer.score(lists, on_list=lambda: bar.update())
        seconds = time.perf_counter() - start
        facts = {
            "seconds": seconds,
            "lists": len(lists),
            "tokens": sum(item.tokens for item in scored),
            "depth": backbone.depth,
            "layers": backbone.layers,
            "heads": len(heads.heads),
            "peak_memory_bytes": peak_memory_bytes(backbone.device),
        }
        _write_contexts(_contexts_path(path), [item.context for item in scored], facts)
        # The run is written last: with it the artifact is whole.
        write_run(path, {item.ranking.query_id: item.ranking for item in scored}, tag=f"headrank-{system}")

    def _load(self, model: BackboneSettings, depth: int) -> Backbone:
        if self._backbone is None or (self._backbone.settings, self._backbone.depth) != (model, depth):
            self._backbone = None  # free the old one first
            self._backbone = load_backbone(model, depth=depth)
        return self._backbone


def first_stage_contexts(benchmark: BenchmarkData, order: tuple[ContextScores, ...]) -> tuple[ContextScores, ...]:
    """The first stage's scores in the context order of a system that read the same lists.

    In its own order nothing of the middle zone could be in its top quartile; side by side with a system it is measured
    on the passages that stood in the zone for that system.
    """
    by_query = {context.query_id: context.passage_ids for context in order}
    contexts = []
    for item in benchmark.candidates.lists:
        if item.first_stage_scores is None:
            raise ValueError(f"query {item.query.id!r}: its candidates carry no scores of the {FIRST_STAGE_SYSTEM}")
        scores = dict(zip(item.passage_ids, item.first_stage_scores, strict=True))
        ordered = tuple(scores[passage_id] for passage_id in by_query[item.query.id])
        masses = ordered if min(ordered) >= 0 and max(ordered) > 0 else None
        contexts.append(ContextScores(item.query.id, by_query[item.query.id], ordered, masses))
    return tuple(contexts)


def _contexts_path(run_path: Path) -> Path:
    return run_path.with_suffix(".contexts.json")


def _write_contexts(path: Path, contexts: list[ContextScores], facts: dict[str, Any]) -> None:
    rows = [
        {"query_id": c.query_id, "passage_ids": c.passage_ids, "scores": c.scores, "masses": c.masses} for c in contexts
    ]
    with atomic_write(path) as file:
        json.dump({"facts": facts, "lists": rows}, file)


def _read_contexts(path: Path) -> tuple[tuple[ContextScores, ...], dict[str, Any]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    contexts = tuple(
        ContextScores(row["query_id"], tuple(row["passage_ids"]), tuple(row["scores"]), _masses(row["masses"]))
        for row in content["lists"]
    )
    return contexts, content["facts"]


def _masses(values: list[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)
