"""The pipeline: select -> align -> rerank -> score -> report, resumable at every artifact.

    outcome = run_experiment(experiment)

Run folder: `heads.json` (and `heads/<system>.json`), `checkpoint/` and `training/` where heads are aligned,
`runs/<system>/<benchmark>.trec` with the scores in context order beside it, `metrics/<benchmark>.json`, `report.md`,
`report.html`, `figures/`, `tables/`, `config.yaml`, `status.json`.
"""

import json
import logging
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from headrank.artifacts import RunFolder
from headrank.data import write_run
from headrank.evaluation import BenchmarkResult, SystemRun, score_benchmark, write_report
from headrank.experiment import FIRST_STAGE_SYSTEM, MAIN_SYSTEM, UNALIGNED_SYSTEM, Experiment
from headrank.files import atomic_write
from headrank.heads import HeadsFile
from headrank.stages.align import AlignStage, help_aligning
from headrank.stages.facts import report_facts
from headrank.stages.keys import metrics_key, model_identity, run_key
from headrank.stages.lists import BenchmarkData, DataLoader
from headrank.stages.rerank import RerankedBenchmark, RerankStage, first_stage_contexts
from headrank.stages.select import SelectStage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gives back: its results, its objective (the main system's mean over benchmarks), its report."""

    results: tuple[BenchmarkResult, ...]
    objective: float
    report: Path


def run_experiment(experiment: Experiment) -> Outcome:
    """Run all stages; what is there already under the same key is not made again.

    A failure is logged, written to `status.json` with its traceback, and raised.
    """
    folder = RunFolder(experiment.folder)
    with atomic_write(folder.path / "config.yaml") as file:
        file.write(experiment.config_yaml)
    stage = "data"
    try:
        folder.set_status("running", stage)
        data = DataLoader(experiment.cache)
        align = None if experiment.alignment is None else AlignStage(experiment, folder, data)
        benchmarks = [data.load(settings) for settings in experiment.benchmarks]  # all inputs are read before any work
        if align is not None:
            align.check()
        stage = "select"
        folder.set_status("running", stage)
        heads = SelectStage(experiment, folder, data).run()
        start = (experiment.model, model_identity(experiment.model))
        systems = {name: (*start, heads[name]) for name in experiment.systems}
        if align is not None:
            stage = "align"
            folder.set_status("running", stage)
            aligned = align.run(heads[MAIN_SYSTEM], experiment.systems[MAIN_SYSTEM])
            systems = {
                MAIN_SYSTEM: (aligned[1], aligned[2], aligned[0]),
                UNALIGNED_SYSTEM: systems.pop(MAIN_SYSTEM),
                **systems,
            }
        stage = "rerank"
        folder.set_status("running", stage)
        rerank = RerankStage(folder)
        reranked = {
            (name, benchmark.settings.name): rerank.run(name, *parts, benchmark)
            for name, parts in systems.items()  # system by system: each has its own depth of the model
            for benchmark in benchmarks
        }
        stage = "score"
        folder.set_status("running", stage)
        results = [_score(experiment, folder, benchmark, reranked) for benchmark in benchmarks]
        stage = "report"
        folder.set_status("running", stage)
        # The heat map is of the start model, on whose heads everything was measured; ringed are the heads in use.
        used = replace(systems[MAIN_SYSTEM][2], table=heads[MAIN_SYSTEM].table)
        _report(experiment, folder, used, results, reranked)
        objective = sum(r.systems[MAIN_SYSTEM].means[experiment.objective] for r in results) / len(results)
        folder.set_status("finished", stage, objective=objective)
    except BaseException as error:
        logger.error("stage %s failed: %s", stage, error)
        folder.set_status("failed", stage, error=str(error), traceback=traceback.format_exc())
        raise
    return Outcome(tuple(results), objective, folder.path / "report.html")


def help_experiment(experiment: Experiment) -> None:
    """The part of the processes beside the first where torchrun or srun started several: they help to align, and leave
    everything else, files too, to `run_experiment` in the first.

    Raises what `help_aligning` raises.
    """
    if experiment.alignment is None:
        logger.info("nothing is aligned: one process does all, and this is not the first")
    else:
        help_aligning(experiment)


def _score(
    experiment: Experiment,
    folder: RunFolder,
    benchmark: BenchmarkData,
    reranked: dict[tuple[str, str], RerankedBenchmark],
) -> BenchmarkResult:
    name = benchmark.settings.name
    first = SystemRun(benchmark.run, first_stage_contexts(benchmark, reranked[MAIN_SYSTEM, name].contexts))
    file = f"runs/{FIRST_STAGE_SYSTEM.replace(' ', '_')}/{name}.trec"
    folder.make(file, run_key({}, _NO_HEADS, benchmark), lambda path: write_run(path, first.rankings, "first"))
    mine = {system: output for (system, of), output in reranked.items() if of == name}
    key = metrics_key(experiment, benchmark, {system: output.key for system, output in mine.items()})

    def write(path: Path) -> None:
        result = score_benchmark(
            name,
            {FIRST_STAGE_SYSTEM: first, **{s: SystemRun(o.rankings, o.contexts) for s, o in mine.items()}},
            benchmark.collection.qrels,
            query_ids=benchmark.query_ids,
            relevance_threshold=benchmark.settings.relevance_threshold,
            reference=FIRST_STAGE_SYSTEM,
            metrics=experiment.metrics,
        )
        with atomic_write(path) as out:
            json.dump(result.to_dict(), out, indent=1)

    made = folder.make(f"metrics/{name}.json", key, write)
    logger.info("score: metrics/%s.json %s", name, "written" if made else "is there already")
    return BenchmarkResult.from_dict(json.loads((folder.path / f"metrics/{name}.json").read_text(encoding="utf-8")))


_NO_HEADS = {"heads": [], "prompt": None, "scorer": None}


def _report(
    experiment: Experiment,
    folder: RunFolder,
    heads: HeadsFile,
    results: list[BenchmarkResult],
    reranked: dict[tuple[str, str], RerankedBenchmark],
) -> None:
    passes = {key: output.facts for key, output in reranked.items()}
    facts = report_facts(experiment, heads, passes, threads=torch.get_num_threads())
    write_report(
        folder.path,
        results,
        heads=heads.to_dict(),
        facts=facts,
        config_yaml=experiment.config_yaml,
        metric=experiment.objective,
        main=MAIN_SYSTEM,
    )
    folder.write_json("facts.json", {f"{system}/{name}": value for (system, name), value in passes.items()})
