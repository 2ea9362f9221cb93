"""The score stage: measures every system on a benchmark."""

import json
import logging
from pathlib import Path

from headrank.data import write_run
from headrank.evaluation import BenchmarkResult, SystemRun, score_benchmark
from headrank.experiment import FIRST_STAGE_SYSTEM, MAIN_SYSTEM, Experiment
from headrank.io.artifacts import RunFolder
from headrank.io.files import atomic_write
from headrank.stages.contexts import first_stage_contexts, ranked_contexts
from headrank.stages.keys import metrics_key, run_key
from headrank.stages.lists import BenchmarkData
from headrank.stages.rerank import RerankedBenchmark

logger = logging.getLogger(__name__)

_NO_HEADS = {"heads": [], "prompt": None, "scorer": None}


def score(
    experiment: Experiment,
    folder: RunFolder,
    benchmark: BenchmarkData,
    reranked: dict[tuple[str, str], RerankedBenchmark],
) -> BenchmarkResult:
    """Score every system on a benchmark, unless `metrics/<benchmark>.json` has the same key.

    Also writes the first stage's run.

    Args:
        experiment: the metrics, for the key too.
        folder: the run folder.
        benchmark: the lists and judgements.
        reranked: (system, benchmark) -> output of the rerank stage.
    """
    name = benchmark.settings.name
    order = reranked[MAIN_SYSTEM, name].contexts
    first = SystemRun(benchmark.run, first_stage_contexts(benchmark, order))
    file = f"runs/{FIRST_STAGE_SYSTEM.replace(' ', '_')}/{name}.trec"
    folder.make(file, run_key({}, _NO_HEADS, benchmark), lambda path: write_run(path, first.rankings, "first"))
    outputs = {system: output for (system, of), output in reranked.items() if of == name}
    maps = {system: output.probability for system, output in outputs.items()}
    key = metrics_key(experiment, benchmark, {system: output.key for system, output in outputs.items()}, maps)

    runs = {
        system: SystemRun(
            output.rankings,
            output.contexts or ranked_contexts(output.rankings, order),
            output.probabilities,
            output.probability.origin if output.probability else "",
        )
        for system, output in outputs.items()
    }
    replies = {system: output.facts["replies"] for system, output in outputs.items() if "replies" in output.facts}

    def write(path: Path) -> None:
        result = score_benchmark(
            name,
            {FIRST_STAGE_SYSTEM: first, **runs},
            benchmark.collection.qrels,
            query_ids=benchmark.query_ids,
            relevance_threshold=benchmark.settings.relevance_threshold,
            reference=FIRST_STAGE_SYSTEM,
            metrics=experiment.metrics,
        )
        with atomic_write(path) as out:
            json.dump({**result.to_dict(), "replies": replies}, out, indent=1)

    written = folder.make(f"metrics/{name}.json", key, write)
    logger.info("score: metrics/%s.json %s", name, "written" if written else "reused")
    return BenchmarkResult.from_dict(json.loads((folder.path / f"metrics/{name}.json").read_text(encoding="utf-8")))
