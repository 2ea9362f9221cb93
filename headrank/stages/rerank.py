"""The rerank stage: writes a TREC run for each system and benchmark, and its scores in context order.

Most systems are sets of heads of the experiment's model. The others are rerankers with separate code
(`headrank.baselines`).
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from headrank.baselines import ListReranker, RerankerSettings
from headrank.data import read_run, write_run
from headrank.experiment import SystemSettings
from headrank.heads import HeadsFile, ProbabilityCalibration
from headrank.io.artifacts import RunFolder, artifact_key
from headrank.io.memory import PeakMemory
from headrank.logs import Progress, seconds_text
from headrank.model import Backbone, BackboneSettings, CutCounts, Scorer, StateSettings, load_backbone
from headrank.ranking import CandidateList, ContextScores, Ranking, Run
from headrank.stages.contexts import contexts_path, read_contexts, write_contexts
from headrank.stages.keys import ALIGNED, reranker_key, run_key
from headrank.stages.lists import BenchmarkData
from headrank.stages.run_cache import RunCache, cache_key

logger = logging.getLogger(__name__)

T = TypeVar("T")

UNFUSED = " without fusion"
"""The suffix of a system's name for what it ranks without the first stage."""


@dataclass(frozen=True, slots=True)
class RerankedBenchmark:
    """The output of a system on a benchmark: rankings, scores in context order, and counts and times."""

    rankings: Run
    contexts: tuple[ContextScores, ...]  # empty for a pointwise system
    facts: dict[str, Any]  # seconds, lists, and if known: peak memory, tokens, depth, replies, ...
    key: str
    probability: ProbabilityCalibration | None = None  # from scores to probabilities of relevance
    unfused: tuple[ContextScores, ...] = ()  # with fusion: the scores before the first stage was added
    unfused_probability: ProbabilityCalibration | None = None  # the same for these scores

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
        return replace(
            self._make(system, benchmark, key, write, cached_as),
            probability=heads.used_probability,
            unfused_probability=heads.probability,
        )

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
                self.run_cache.make(cached_as, path, contexts_path(path), _tag(system), write)

        written = self.folder.make(name, key, make, parts=[contexts_path(Path(name)).as_posix()])
        path = self.folder.path / name
        contexts, unfused, facts = read_contexts(contexts_path(path))
        done = f"{facts['lists']} lists in {seconds_text(facts['seconds'])}" if written else "reused"
        logger.info("%s: %s", self._label(system, benchmark), done)
        return RerankedBenchmark(read_run(path), contexts, facts, key, unfused=unfused)

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
        unfused = [item.unfused for item in scored]
        write_contexts(contexts_path(path), [item.context for item in scored], facts, unfused)
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
        write_contexts(contexts_path(path), output.contexts, facts)
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


def with_unfused(
    reranked: Mapping[tuple[str, str], RerankedBenchmark], benchmarks: Sequence[BenchmarkData]
) -> dict[tuple[str, str], RerankedBenchmark]:
    """Add what each system with fusion ranks without the first stage, as a separate system.

    The same reading gives both. Its name is the system's with the suffix `UNFUSED`. Of a list in several prompts, the
    best passages are not read again (`Scorer.score`), which a system without fusion would do.

    Args:
        reranked: (system, benchmark) -> output of the rerank stage.
        benchmarks: the benchmarks.

    Returns:
        (system, benchmark) -> output.
    """
    lists = {benchmark.settings.name: benchmark.candidates.lists for benchmark in benchmarks}
    result = {}
    for (system, name), output in reranked.items():
        result[system, name] = output
        if not output.unfused:
            continue
        rankings = {}
        for item, context in zip(lists[name], output.unfused, strict=True):
            scores = dict(zip(context.passage_ids, context.scores or (), strict=True))
            ids = item.passage_ids
            rankings[item.query.id] = Ranking.from_scores(item.query.id, ids, [scores[one] for one in ids])
        key = artifact_key("unfused", output.key)
        result[system + UNFUSED, name] = RerankedBenchmark(
            rankings, output.unfused, output.facts, key, output.unfused_probability
        )
    return result


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
