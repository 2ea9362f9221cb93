"""The pipeline: select -> align -> rerank -> score -> explain -> report, resumable at every artifact.

    outcome = run_experiment(experiment)

Run folder: `heads.json` (and `heads/<system>.json`), `head_curves.json`, with alignment `checkpoint/` and `training/`,
`runs/<system>/<benchmark>.trec` with the scores in context order in `<benchmark>.contexts.json`,
`metrics/<benchmark>.json`, `examples/<benchmark>.json`, `report.md`, `report.html`, `figures/`, `tables/`,
`config.yaml`, `status.json`, `facts.json`.
"""

import logging
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch

from headrank.evaluation import BenchmarkResult, RunResults, read_results, write_report
from headrank.experiment import MAIN_SYSTEM, UNALIGNED_SYSTEM, Experiment
from headrank.heads import HeadsFile
from headrank.interruption import interruption
from headrank.io.artifacts import RunFolder
from headrank.io.cache import clean_cache
from headrank.io.files import atomic_write
from headrank.stages.align import CHECKPOINT, AlignStage, best_validation, join_alignment, training_candidates
from headrank.stages.checks import check_model
from headrank.stages.examples import ExampleStage, ExplainedSystem
from headrank.stages.facts import report_facts, run_numbers
from headrank.stages.keys import experiment_key, model_identity
from headrank.stages.lists import DataLoader
from headrank.stages.prompt_lengths import check_prompt_lengths
from headrank.stages.rerank import (
    RerankedBenchmark,
    RerankStage,
    with_instruction,
    with_unfused,
)
from headrank.stages.score import score
from headrank.stages.select import SelectStage, heads_name
from headrank.stages.shared_queries import shared_notice, shared_queries
from headrank.stages.teacher import check_teacher, with_teacher
from headrank.tracking import NoTracker, Tracker

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run.

    results: the measures of each benchmark.
    objective: the number that a sweep optimises, see `Experiment.objective_from`.
    report: the path of `report.html`.
    """

    results: tuple[BenchmarkResult, ...]
    objective: float
    report: Path


def run_experiment(experiment: Experiment, tracker: Tracker | None = None) -> Outcome:
    """Run all stages of an experiment. Existing outputs with the same key are reused.

    A failure is logged, written to `status.json` with its traceback, and raised. Ctrl-C, or a signal within
    `headrank.interruption.interruptible`, sets the state `interrupted`; the next call resumes.

    Args:
        experiment: the experiment.
        tracker: receives each status and result; None: the run is not tracked.

    Raises:
        InUseError: another process works in the experiment's folder.
    """
    tracker = tracker or NoTracker()
    folder = RunFolder(experiment.folder, on_status=tracker.status)
    with folder.lock():
        return _run_stages(experiment, folder, tracker)


def _run_stages(experiment: Experiment, folder: RunFolder, tracker: Tracker) -> Outcome:
    stage, finished = "data", False
    try:
        clean_cache(experiment.cache)
        with atomic_write(folder.path / "config.yaml") as file:
            file.write(experiment.config_yaml)
        tracker.start(folder.path, systems=experiment.systems, benchmarks=[b.name for b in experiment.benchmarks])
        folder.set_status("running", stage)
        data = DataLoader(experiment.cache)
        align = None if experiment.alignment is None else AlignStage(experiment, folder, data, on_epoch=tracker.epochs)
        check_model(experiment)
        benchmarks = [data.load(settings) for settings in experiment.benchmarks]  # read all inputs before any work
        check_teacher(experiment, data)
        taught = experiment if experiment.teacher_needs_heads else with_teacher(experiment, folder, data)
        if align is not None:
            align.experiment = taught
            align.check()
        train = data.labelled(taught.train) if taught.train else None
        pools = None if align is None else training_candidates(taught, data)
        check_prompt_lengths(taught, benchmarks, train, pools)
        labels_used = align is not None or any(s.uses_labels for s in experiment.systems.values())
        shared = shared_queries(train, benchmarks) if train is not None and labels_used else {}
        overlap = shared_notice(shared, benchmarks)
        if overlap:
            logger.warning("%s", overlap)
        compared = [read_results(Path(other)) for other in experiment.report.compared_runs]
        stage = "select"
        folder.set_status("running", stage)
        heads = SelectStage(taught, folder, data).run()
        tracker.files("heads", folder.path, [heads_name(name) for name in heads])
        start = (experiment.model, model_identity(experiment.model))
        systems = {name: (*start, heads[name]) for name in experiment.systems}
        if align is not None:
            if experiment.teacher_needs_heads:
                align.experiment = with_teacher(experiment, folder, data, heads[MAIN_SYSTEM])
                align.check()
            stage = "align"
            folder.set_status("running", stage)
            aligned = align.run(heads[MAIN_SYSTEM], experiment.systems[MAIN_SYSTEM])
            tracker.epochs(align.epochs())  # includes the epochs of earlier starts
            tracker.files("aligned-heads", folder.path, [f"{CHECKPOINT}/heads.json"])
            tracker.files("model", folder.path, [CHECKPOINT])
            systems = {
                MAIN_SYSTEM: (aligned[1], aligned[2], aligned[0]),
                UNALIGNED_SYSTEM: systems.pop(MAIN_SYSTEM),
                **systems,
            }
        stage = "rerank"
        folder.set_status("running", stage)
        names = [benchmark.name for benchmark in experiment.benchmarks]
        rerank = RerankStage(folder, experiment.cache, experiment.states, benchmarks=names)
        used = {
            (name, benchmark): with_instruction(
                of_system, experiment.systems.get(name, experiment.systems[MAIN_SYSTEM]), benchmark
            )
            for name, (_, _, of_system) in systems.items()
            for benchmark in names
        }
        reranked = {
            (name, benchmark.settings.name): rerank.run(
                name, model, identity, used[name, benchmark.settings.name], benchmark
            )
            for name, (model, identity, _) in systems.items()  # systems load the model to different depths
            for benchmark in benchmarks
        } | {
            (name, benchmark.settings.name): rerank.run_reranker(name, settings, experiment.model, benchmark)
            for name, settings in experiment.rerankers.items()
            for benchmark in benchmarks
        }
        stage = "score"
        folder.set_status("running", stage)
        both = with_unfused(reranked, benchmarks)
        results = [score(experiment, folder, benchmark, both) for benchmark in benchmarks]
        stage = "explain"
        folder.set_status("running", stage)
        examples = ExampleStage(folder, rerank, metric=experiment.objective, count=experiment.report.examples)
        for benchmark, result in zip(benchmarks, results, strict=True):
            name = benchmark.settings.name
            compared_systems = {
                system: ExplainedSystem(systems[system][0], used[system, name], reranked[system, name].key)
                for system in (UNALIGNED_SYSTEM, MAIN_SYSTEM)
                if system in systems
            }
            examples.run(compared_systems, benchmark, result)
        stage = "report"
        folder.set_status("running", stage)
        numbers = _report(experiment, folder, systems[MAIN_SYSTEM][2], results, reranked, compared, overlap)
        tracker.results(results, folder.path, metric=experiment.objective, numbers=numbers)
        objective = _objective(experiment, folder, results)
        folder.set_status("finished", stage, objective=objective, key=experiment_key(experiment))
        finished = True
    except BaseException as error:
        _record_end(folder, stage, error)
        raise
    finally:
        tracker.finish(failed=not finished)
    return Outcome(tuple(results), objective, folder.path / "report.html")


def _record_end(folder: RunFolder, stage: str, error: BaseException) -> None:
    """Write to `status.json` that the run was interrupted, or failed and why."""
    ended = interruption(error)
    try:
        if ended is not None:
            folder.set_status("interrupted", stage, error=ended)
            return
        logger.error("stage %s failed: %s", stage, error)
        text = str(error) or type(error).__name__
        folder.set_status("failed", stage, error=text, traceback="".join(traceback.format_exception(error)))
    except OSError as second:  # such as a full disk; the first error is raised
        logger.error("the status could not be written: %s", second)


def finished_objective(experiment: Experiment) -> float | None:
    """Return the objective of an experiment that has already finished in its folder, without reading data.

    The result is None if the run is not finished, its `experiment_key` differs, the report or the metrics of a
    benchmark are missing, or a file was edited or is damaged. The checkpoint may have been removed.
    """
    folder = RunFolder(experiment.folder)
    status, key = folder.status(), experiment_key(experiment)
    if key is None or (status.get("state"), status.get("key")) != ("finished", key):
        return None
    whole = all((folder.path / f"metrics/{benchmark.name}.json").is_file() for benchmark in experiment.benchmarks)
    edited = folder.edited_file()
    if edited is not None:
        logger.warning("%s was edited or is damaged", folder.path / edited)
        return None
    return status["objective"] if whole and (folder.path / "report.html").is_file() else None


def _objective(experiment: Experiment, folder: RunFolder, results: list[BenchmarkResult]) -> float:
    if experiment.objective_from == "validation":
        return best_validation(folder.path, experiment.alignment.folds)
    return sum(r.systems[MAIN_SYSTEM].means[experiment.objective] for r in results) / len(results)


def join_experiment(experiment: Experiment) -> None:
    """Take part in an experiment as a rank above 0 that torchrun or srun launched.

    Such a process only trains in alignment and does not write to the run folder; without alignment it returns at once.
    Rank 0 calls `run_experiment`. Raises the errors of `join_alignment`.
    """
    if experiment.alignment is None:
        logger.info("no alignment configured; this extra process exits")
    else:
        join_alignment(experiment)


def _report(
    experiment: Experiment,
    folder: RunFolder,
    heads: HeadsFile,
    results: list[BenchmarkResult],
    reranked: dict[tuple[str, str], RerankedBenchmark],
    compared: list[RunResults],
    overlap: str,
) -> dict[str, float | int]:
    """Write `facts.json` and the report; returns the numeric facts."""
    passes = {key: output.facts for key, output in reranked.items()}
    folder.write_json("facts.json", {f"{system}/{name}": value for (system, name), value in passes.items()})
    numbers = run_numbers(experiment, heads, passes)
    threads = torch.get_num_threads()
    write_report(
        folder.path,
        read_results(folder.path, results, metric=experiment.objective),
        experiment.report,
        facts=report_facts(
            experiment,
            heads,
            passes,
            results=results,
            numbers=numbers,
            seconds=folder.seconds,
            threads=threads,
            notice=overlap,
        ),
        config_yaml=experiment.config_yaml,
        compared_runs=compared,
    )
    return numbers
