"""The rerank stage: writes a TREC run for each system and benchmark, and its scores in context order.

Most systems are sets of heads of the experiment's model. The others are rerankers with separate code
(`headrank.baselines`).
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from headrank.baselines import ListReranker, RerankerSettings
from headrank.data import read_run, write_run
from headrank.experiment import FIRST_STAGE_SYSTEM, SystemSettings
from headrank.heads import HeadsFile, ProbabilityCalibration
from headrank.io.artifacts import RunFolder
from headrank.io.files import atomic_write
from headrank.io.memory import PeakMemory
from headrank.logs import Progress, seconds_text
from headrank.model import Backbone, BackboneSettings, CutCounts, Scorer, StateSettings, load_backbone
from headrank.ranking import CandidateList, ContextScores, Run
from headrank.stages.keys import ALIGNED, reranker_key, run_key
from headrank.stages.lists import BenchmarkData
from headrank.stages.run_cache import RunCache, cache_key

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RerankedBenchmark:
    """The output of a system on a benchmark: rankings, scores in context order, and counts and times."""

    rankings: Run
    contexts: tuple[ContextScores, ...]  # empty for a pointwise system
    facts: dict[str, Any]  # seconds, lists, and if known: peak memory, tokens, depth, replies, ...
    key: str
    probability: ProbabilityCalibration | None = None  # from scores to probabilities of relevance

    @property
    def probabilities(self) -> dict[str, dict[str, float]]:
        """Query id -> passage id -> probability of relevance; empty if `probability` is None."""
        if self.probability is None:
            return {}
        return {
            query_id: dict(zip(ranking.passage_ids, self.probability(ranking.scores), strict=True))
            for query_id, ranking in self.rankings.items()
        }


class RerankStage:
    """Runs the rerank stage of an experiment. Consecutive calls with the same model load it once.

    Runs of systems that this experiment did not train are copied from the cache of runs if they are in it
    (`run_cache.py`). Two kinds of runs are not cached: those of the aligned model, and those that read or add stored
    passage states, because their timing depends on the states that already exist.

    Args:
        folder: the run folder.
        cache: the cache folder.
        states: the store of passage states, for systems whose prompt is in blocks; None: states are not stored. The
            dtype of the states changes scores and is part of a run's key; the folder is not.
        benchmarks: the names of all benchmarks, for log lines.
    """

    def __init__(
        self,
        folder: RunFolder,
        cache: Path,
        states: StateSettings | None = None,
        *,
        benchmarks: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.benchmarks = list(benchmarks)
        self.states = states
        self.run_cache = RunCache(cache)
        self._backbone: Backbone | None = None
        self._reranker: tuple[RerankerSettings, ListReranker] | None = None

    def run(
        self, system: str, model: BackboneSettings, identity: dict[str, Any], heads: HeadsFile, benchmark: BenchmarkData
    ) -> RerankedBenchmark:
        """Rerank a benchmark with heads, or read the run from the run folder if its key is unchanged.

        model: the settings that load the model.
        identity: what identifies the weights of `model`, as plain values; part of the run's key.
        """
        states = {"states": self.states.dtype} if self.states and heads.prompt.in_blocks and self.states.dtype else {}
        key = run_key({**identity, **states}, heads.to_dict(), benchmark)

        def write(path: Path) -> None:
            self._rerank(system, model, heads, benchmark, path)

        cached = ALIGNED not in identity and not (self.states is not None and heads.prompt.in_blocks)
        cached_as = cache_key(key, model.torch_device, model, heads.scorer) if cached else None
        return replace(self._make(system, benchmark, key, write, cached_as), probability=heads.probability)

    def run_reranker(
        self, system: str, settings: RerankerSettings, model: BackboneSettings, benchmark: BenchmarkData
    ) -> RerankedBenchmark:
        """Rerank a benchmark with a reranker that does not read heads, or read the run if its key is unchanged.

        model: the experiment's model, used if `settings` names none.
        """
        key = reranker_key(settings.identity(model), benchmark)

        def write(path: Path) -> None:
            self._run(system, settings, model, benchmark, path)

        return self._make(system, benchmark, key, write, cache_key(key, model.torch_device, model, settings))

    def _make(
        self,
        system: str,
        benchmark: BenchmarkData,
        key: str,
        write: Callable[[Path], None],
        cached_as: str | None = None,
    ) -> RerankedBenchmark:
        """The run, which `write` computes unless the run folder or, under the key `cached_as`, the cache has it."""
        name = f"runs/{system}/{benchmark.settings.name}.trec"

        def make(path: Path) -> None:
            if cached_as is None:
                write(path)
            else:
                self.run_cache.make(cached_as, path, _contexts_path(path), _tag(system), write)

        written = self.folder.make(name, key, make, parts=[_contexts_path(Path(name)).as_posix()])
        path = self.folder.path / name
        contexts, facts = _read_contexts(_contexts_path(path))
        done = f"{facts['lists']} lists in {seconds_text(facts['seconds'])}" if written else "reused"
        logger.info("%s: %s", self._label(system, benchmark), done)
        return RerankedBenchmark(read_run(path), contexts, facts, key)

    def _label(self, system: str, benchmark: BenchmarkData) -> str:
        name = benchmark.settings.name
        if len(self.benchmarks) < 2 or name not in self.benchmarks:
            return f"rerank: {name} by {system}"
        return f"rerank: benchmark {self.benchmarks.index(name) + 1} of {len(self.benchmarks)}, {name}, by {system}"

    def _rerank(
        self, system: str, model: BackboneSettings, heads: HeadsFile, benchmark: BenchmarkData, path: Path
    ) -> None:
        scorer = self.scorer(model, heads)
        backbone = scorer.reader.backbone
        scored, facts = _timed(scorer.score, self._label(system, benchmark), benchmark, backbone.device)
        cuts = CutCounts()
        for item in scored:
            cuts.add(len(item.ranking), len(item.cut), query_cut=item.query_cut)
        if cuts:
            logger.info("rerank: %s on %s: cut %s", system, benchmark.settings.name, cuts)
        windowed = [item.windows for item in scored if item.windows > 1]
        if windowed:
            logger.info(
                "rerank: %s on %s: %d of %d lists were read in several prompts, up to %d",
                *(system, benchmark.settings.name, len(windowed), len(scored), max(windowed)),
            )
        facts |= {
            **cuts.facts,
            "windowed_lists": len(windowed),
            "tokens": sum(item.tokens for item in scored),
            "flops": sum(item.flops for item in scored),
            "depth": backbone.depth,
            "layers": backbone.layers,
            "heads": len(heads.heads),
        }
        _write_contexts(_contexts_path(path), [item.context for item in scored], facts)
        # The run is written last: it marks the artifact as complete.
        write_run(path, {item.ranking.query_id: item.ranking for item in scored}, tag=_tag(system))

    def _run(
        self, system: str, settings: RerankerSettings, model: BackboneSettings, benchmark: BenchmarkData, path: Path
    ) -> None:
        reranker = self._load_reranker(settings, model)
        output, facts = _timed(reranker.rerank, self._label(system, benchmark), benchmark, reranker.device)
        facts |= output.facts
        if output.replies:
            facts["replies"] = dict(output.replies)
        _write_contexts(_contexts_path(path), output.contexts, facts)
        write_run(path, {ranking.query_id: ranking for ranking in output.rankings}, tag=_tag(system))

    def scorer(self, model: BackboneSettings, heads: HeadsFile) -> Scorer:
        """Make the scorer of a system. The model is loaded unless the last call used the same one."""
        return Scorer(
            self._load(model, heads.depth),
            heads.heads,
            weights=heads.weights,
            prompt=heads.prompt,
            settings=heads.scorer,
            states=self.states if heads.prompt.in_blocks else None,
        )

    def _load_reranker(self, settings: RerankerSettings, model: BackboneSettings) -> ListReranker:
        if self._reranker is None or self._reranker[0] is not settings:
            self._backbone = self._reranker = None  # free the old one first
            self._reranker = (settings, settings.load(model))
        return self._reranker[1]

    def _load(self, model: BackboneSettings, depth: int) -> Backbone:
        if self._backbone is None or (self._backbone.settings, self._backbone.depth) != (model, depth):
            self._backbone = None  # free the old one first
            self._backbone = load_backbone(model, depth=depth)
        return self._backbone


def with_instruction(heads: HeadsFile, system: SystemSettings, benchmark: str) -> HeadsFile:
    """Return the heads file with the instruction that a system uses for a benchmark.

    If the system has no instruction for this benchmark, the heads file is returned unchanged.
    """
    instruction = system.instructions.get(benchmark)
    return heads if instruction is None else heads.with_settings(prompt=replace(heads.prompt, instruction=instruction))


def first_stage_contexts(benchmark: BenchmarkData, order: tuple[ContextScores, ...]) -> tuple[ContextScores, ...]:
    """Return the first stage's scores in the context order of another system that read the same candidate lists.

    The first stage is measured on the passages in that system's middle zone (the middle half of the context). In its
    own order no passage of the zone could reach the top quartile.

    order: the other system's scores in context order.

    Returns one entry per list. Its `masses` are the scores, or None if a score is negative or none is above 0. Raises
    `ValueError` if a list has no first-stage scores.
    """
    by_query = {context.query_id: context.passage_ids for context in order}
    contexts = []
    for item in benchmark.candidates.lists:
        if item.first_stage_scores is None:
            raise ValueError(f"query {item.query.id!r}: expected scores of the {FIRST_STAGE_SYSTEM}, found none")
        scores = dict(zip(item.passage_ids, item.first_stage_scores, strict=True))
        ordered = tuple(scores[passage_id] for passage_id in by_query[item.query.id])
        masses = ordered if min(ordered) >= 0 and max(ordered) > 0 else None
        contexts.append(ContextScores(item.query.id, by_query[item.query.id], ordered, masses))
    return tuple(contexts)


def ranked_contexts(rankings: Run, order: tuple[ContextScores, ...]) -> tuple[ContextScores, ...]:
    """Return a pointwise system's scores in the context order of another system that read the same candidate lists.

    A pointwise system reads each passage alone, so it has no context order. It is measured on the passages in the
    middle zone of the other system, whose scores in context order are `order`.
    """
    contexts = []
    for context in order:
        scores = {result.id: result.score for result in rankings[context.query_id].results}
        ordered = tuple(scores[passage_id] for passage_id in context.passage_ids)
        contexts.append(ContextScores(context.query_id, context.passage_ids, ordered))
    return tuple(contexts)


def _timed(
    rerank: Callable[..., T], label: str, benchmark: BenchmarkData, device: torch.device
) -> tuple[T, dict[str, Any]]:
    """The result of `rerank(lists, on_list=...)`, with its seconds (without loading) and its peak memory if known."""
    lists: Sequence[CandidateList] = benchmark.candidates.lists
    start = time.perf_counter()
    with PeakMemory(device) as peak, Progress(len(lists), label, "list", log_end=False) as progress:
        output = rerank(lists, on_list=progress.update)
    facts = {"seconds": time.perf_counter() - start, "lists": len(lists)}
    return output, facts if peak.bytes is None else {**facts, "peak_memory_bytes": peak.bytes}


def _tag(system: str) -> str:
    return f"headrank-{system}"


def _contexts_path(run_path: Path) -> Path:
    return run_path.with_suffix(".contexts.json")


def _write_contexts(path: Path, contexts: Sequence[ContextScores], facts: dict[str, Any]) -> None:
    rows = [
        {"query_id": c.query_id, "passage_ids": c.passage_ids, "scores": c.scores, "masses": c.masses} for c in contexts
    ]
    with atomic_write(path) as file:
        json.dump({"facts": facts, "lists": rows}, file)


def _read_contexts(path: Path) -> tuple[tuple[ContextScores, ...], dict[str, Any]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    contexts = tuple(
        ContextScores(row["query_id"], tuple(row["passage_ids"]), _numbers(row["scores"]), _numbers(row["masses"]))
        for row in content["lists"]
    )
    return contexts, content["facts"]


def _numbers(values: list[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)
