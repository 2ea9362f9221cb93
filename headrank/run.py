"""The command line: composes the configuration, runs the stages, returns the sweep's objective.

python -m headrank.run                                  the embedded model on the sample collection
python -m headrank.run +experiment=qwen3_4b             one of conf/experiment
python -m headrank.run -m +experiment=nano scorer.order=shuffled seed=0,1,2   a Hydra multirun
python -m headrank.run +sweep=alignment_ablation +experiment=qwen3_4b         one of conf/sweep
python -m headrank.run tracking=wandb tracking.project=reranking              tracked in Weights & Biases
python -m headrank.run --cfg job +experiment=qwen3_4b   print the configuration, nothing else
"""

import copy
import difflib
import gc
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from headrank.cache import cache_folder
from headrank.extras import MissingExtraError, check_extras, check_launcher
from headrank.interruption import interruptible
from headrank.started import Started
from hydra_plugins.headrank_sweepers.arguments import for_jobs

if TYPE_CHECKING:
    from headrank.experiment import DataSettings, Experiment
    from headrank.tracking import Tracker

# torch and transformers take seconds to import; printing a configuration or refusing one needs neither, so what needs
# them is imported where it is used.

logger = logging.getLogger("headrank")

_CHECKOUT = Path(__file__).parent.parent / "conf"
CONFIG_FOLDER = _CHECKOUT if _CHECKOUT.is_dir() else Path(__file__).parent / "conf"  # in a wheel conf/ lies inside


def experiment_from_config(config: DictConfig, folder: Path) -> "Experiment":
    """The experiment that a composed configuration describes.

    Raises `ValueError` where a value that has no default is not given, and what the settings' own checks raise.
    """
    from headrank.experiment import MAIN_SYSTEM, Experiment, SystemSettings

    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ValueError(f"the configuration leaves {', '.join(missing)} open: give it, as {missing[0]}=VALUE")
    groups = ("model", "data", "benchmarks", "prompt", "selection", "reading", "scorer", "baselines", "report")
    # A group of which no option is chosen (baselines=[], alignment=none) is absent from the configuration. What stands
    # under `debug` takes the place of a group that is there; of alignment and chosen baselines it changes values.
    debug = dict(config.get("debug") or {})
    config = _changed_baselines(config, debug.pop("baselines", {}))
    nodes = {**config, **{key: value for key, value in debug.items() if config.get(key)}}
    if config.get("alignment") and "alignment" in debug:
        nodes["alignment"] = OmegaConf.merge(config.alignment, debug["alignment"])
    parts: dict[str, Any] = {key: instantiate(nodes[key], _convert_="all") if key in nodes else {} for key in groups}
    states = config.get("states")
    selection = parts["selection"]
    main = SystemSettings(
        selection["criterion"],
        heads=selection["heads"],
        entropy_weight=selection["entropy_weight"],
        scorer=parts["scorer"],
        prompt=parts["prompt"],
        instructions=dict(config.get("instructions") or {}),
    )
    with_heads = {name: s for name, s in parts["baselines"].items() if isinstance(s, SystemSettings)}
    check_instructions(main.instructions, parts["benchmarks"].values())
    return Experiment(
        name=config.name,
        folder=folder,
        cache=Path(config.paths.cache) if config.paths.cache else cache_folder(),
        model=parts["model"],
        train=tuple(parts["data"].values()),
        benchmarks=with_runs(tuple(parts["benchmarks"].values()), config.get("first_stage_runs")),
        systems={MAIN_SYSTEM: main, **with_heads},
        rerankers={name: settings for name, settings in parts["baselines"].items() if name not in with_heads},
        selection=parts["reading"],
        states=instantiate(states) if states and states.folder else None,
        shared_runs=Path(config.shared_runs) if config.shared_runs else None,
        alignment=alignment_from_config(nodes),
        metrics=tuple(config.metrics),
        objective=config.objective,
        objective_from=config.objective_from,
        report=parts["report"],
        config_yaml=OmegaConf.to_yaml(config, resolve=True),
    )


def check_instructions(instructions: Mapping[str, str], benchmarks: "Iterable[DataSettings]") -> None:
    """Warn of instructions whose benchmark is neither among these nor one of `conf/benchmarks`: a word misspelt."""
    known = {one.name for one in benchmarks}
    if instructions.keys() <= known:
        return
    known |= {
        str(OmegaConf.select(OmegaConf.load(file), f"{file.stem}.name"))
        for file in (CONFIG_FOLDER / "benchmarks").glob("*.yaml")
    }
    for name in sorted(instructions.keys() - known):
        near = difflib.get_close_matches(name, sorted(known), 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        logger.warning("instructions.%s: there is no benchmark of this name, it has no effect%s", name, meant)


def _changed_baselines(config: DictConfig, changes: Mapping[str, Any]) -> DictConfig:
    """The configuration with these values in those of its baselines that are chosen."""
    present = {name: change for name, change in changes.items() if name in (config.get("baselines") or {})}
    config = copy.deepcopy(config)
    OmegaConf.set_struct(config, False)
    config.merge_with({"baselines": present} if present else {})
    return config


def with_runs(benchmarks: "tuple[DataSettings, ...]", pattern: str | None) -> "tuple[DataSettings, ...]":
    """The benchmarks with the TREC runs that `pattern` names as first stage, `{name}` being a benchmark's name.

    A benchmark that has a run of its own keeps it. Raises `ValueError` where one file would serve several benchmarks.
    """
    if pattern is None:
        return benchmarks
    if "{name}" not in pattern and sum(one.run_path is None for one in benchmarks) > 1:
        raise ValueError(f"first_stage_runs is {pattern!r} for {len(benchmarks)} benchmarks: wanted {{name}} in it")
    return tuple(
        one
        if one.run_path is not None
        else replace(one, first_stage="run", run_path=pattern.replace("{name}", one.name))
        for one in benchmarks
    )


def alignment_from_config(nodes: Mapping[str, Any]) -> Any:
    """The alignment that the groups `alignment`, `loss` and `trainer` describe, or None where none is chosen."""
    if not nodes.get("alignment"):
        return None
    from headrank.alignment.settings import AlignmentSettings

    options = instantiate(nodes["alignment"], _convert_="all")
    terms = instantiate(nodes["loss"], _convert_="all")
    trainer = instantiate(nodes["trainer"], _convert_="all")
    return AlignmentSettings.from_terms(terms, **options, trainer=trainer)


def tracker_from_config(config: DictConfig, *, name: str, group: str | None) -> "Tracker":
    """The tracker that the group `tracking` describes. Raises what `make_tracker` and its settings raise.

    name: of the run. group: of the sweep that it is a job of.
    """
    from headrank.tracking import make_tracker

    chosen = config.get("tracking")
    settings = instantiate(chosen, _convert_="all") if chosen else None
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return make_tracker(settings, {str(key): value for key, value in plain.items()}, name=name, group=group)


def main() -> None:
    """The command line. Where torchrun or srun started several processes, the first runs and the others help it."""
    if Started.of().rank:
        sys.argv.append("hydra.output_subdir=null")  # the run's folder is the first's
    try:
        check_launcher(sys.argv[1:])
    except MissingExtraError as error:
        sys.exit(f"error: {error}")
    sys.argv[1:] = for_jobs(sys.argv[1:])
    with interruptible():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="config")
def _main(config: DictConfig) -> float | None:
    """Run the configured experiment; the return value is what a search maximises, None in a helping process.

    A sweep's job that finished before returns at once. A failure stands in the job's `status.json` and `traceback.txt`.
    """
    check_extras(config)
    from headrank.artifacts import RunFolder
    from headrank.errors import InUseError
    from headrank.pipeline import finished_objective, help_experiment, run_experiment

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "urllib3", "matplotlib", "fontTools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    job, started = HydraConfig.get(), Started.of()
    if started.count > 1 and job.mode == RunMode.MULTIRUN:
        raise ValueError(
            f"a sweep in {started.count} processes of {started.by}: their jobs would not keep step. On one machine "
            "give trainer.devices alone, which starts processes for each job; on several, start each job by itself"
        )
    folder = Path(job.runtime.output_dir)
    try:
        experiment = experiment_from_config(config, folder)
    except Exception as error:
        if not started.rank:
            text = traceback.format_exc()
            place = RunFolder(folder)
            with suppress(InUseError), place.lock():  # the status of a run that is going on stays
                place.set_status("failed", "configuration", error=str(error), traceback=text)
        raise
    if started.rank:
        help_experiment(experiment)
        return None
    name, group = folder.name, None
    if job.mode == RunMode.MULTIRUN:
        before = finished_objective(experiment)
        if before is not None:
            logger.info("%s: finished before", os.path.relpath(folder))
            return before
        # named by its words, but for those that say where it is kept
        words = [word for word in job.overrides.task if not word.startswith(("tracking", "paths."))]
        name, group = ",".join(words) or name, Path(job.sweep.dir).name
    tracker = tracker_from_config(config, name=name, group=group)
    try:
        with interruptible():  # here, too, since launchers run jobs in other processes
            outcome = run_experiment(experiment, tracker)
    except Exception as error:
        release(error)
        raise
    print((folder / "report.md").read_text(encoding="utf-8").split("\n\n## ")[0])
    print(f"\nreport: {os.path.relpath(outcome.report)}")
    return outcome.objective


def release(error: BaseException | None) -> None:
    """Let go of what the frames of an exception hold, the model above all: a sweep keeps the exceptions of its failed
    jobs to the end, and the next job needs the memory."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()  # models and trainers refer to themselves


if __name__ == "__main__":
    # Under its own name, which a launcher's other processes can import.
    from headrank.run import main as importable

    importable()
