"""The command line: composes the configuration, runs the stages and returns the objective.

python -m headrank.run                                  the embedded model on the sample collection
python -m headrank.run +experiment=qwen3_4b             one of conf/experiment
python -m headrank.run -m +experiment=nano scorer.order=shuffled seed=0,1,2   a Hydra multirun
python -m headrank.run +sweep=alignment_ablation +experiment=qwen3_4b         one of conf/sweep
python -m headrank.run tracking=wandb tracking.project=reranking              tracked in Weights & Biases
python -m headrank.run --cfg job +experiment=qwen3_4b   print the configuration, nothing else
"""

import gc
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from headrank.configuration import CONFIG_FOLDER, NONE, build, chosen, experiment_from_config, explained
from headrank.errors import ConfigError, HeadRankError
from headrank.extras import check_extras, check_launcher
from headrank.interpolation import recorded
from headrank.interruption import interruptible
from headrank.io.launch import Launch
from headrank.logs import set_up_logging
from headrank.replaced_keys import replacement
from headrank.settings import meant, wrong
from hydra_plugins.headrank_sweepers.arguments import for_jobs

if TYPE_CHECKING:
    from headrank.tracking import Tracker

__all__ = ["CONFIG_FOLDER", "compose_config", "experiment_from_config", "main", "tracker_from_config"]

# Modules that need torch or transformers are imported inside functions: they take seconds to import, and printing or
# refusing a configuration needs neither.

logger = logging.getLogger("headrank")


def compose_config(overrides: Sequence[str], *, config_dir: str | None = None, with_hydra: bool = False) -> DictConfig:
    """Compose the configuration of these overrides, for commands other than `headrank.run`.

    Args:
        overrides: as on the command line of `headrank.run`.
        config_dir: a folder with further options, as Hydra's `--config-dir`; None: only the options of this package.
        with_hydra: whether the configuration contains Hydra's own section `hydra`.

    Raises `ConfigError` for a wrong override or a missing folder.
    """
    check_options(overrides)
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise ConfigError(f"--config-dir is {config_dir!r}, expected an existing folder")
        path = str(Path(config_dir).resolve()).replace("'", "\\'")
        overrides = [*overrides, f"hydra.searchpath=['file://{path}']"]
    try:
        with initialize_config_dir(config_dir=str(CONFIG_FOLDER.resolve()), version_base="1.3"):
            return compose("config", list(overrides), return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explanation(error, overrides)) from error


def check_options(words: Sequence[str]) -> None:
    """Raise `ConfigError` if an override gives a configuration group a value that is not the name of an option.

    Hydra's own error is unclear.

    words: arguments of a command line; those that are not overrides are ignored. If Hydra cannot parse one, none is
        checked.
    """
    try:
        found = OverridesParser.create().parse_overrides([word for word in words if "=" in word and word[0] != "-"])
    except HydraException:
        return
    for one in found:
        group, value = one.key_or_group, one.value()
        names = value if isinstance(value, list) else [value]
        named = all(isinstance(name, str | QuotedString) for name in names)
        if (CONFIG_FOLDER / group).is_dir() and not (named or one.is_sweep_override()):
            raise wrong(group or str(one.input_line), value, "the name of an option, or a list of names")


def explanation(error: Exception, overrides: Sequence[str]) -> str:
    """Return the message to show for an error of Hydra or OmegaConf about these overrides.

    It names the key and the closest known key. If Hydra lists a group's options, the message has several lines.

    Args:
        error: the error.
        overrides: the overrides of the command line.
    """
    found = re.search(r"Could not (?:override|delete from config\.) '([^']+)'", str(error))
    if isinstance(error, OmegaConfBaseException):
        return explained(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: {str(error).splitlines()[0]}; expected key=value in Hydra's grammar"
    option = re.search(r"Could not load '([^']+)/([^'/]+)'", str(error))
    if option is not None:
        group, name = option.groups()
        known = sorted(file.stem for file in (CONFIG_FOLDER / group).glob("*.yaml"))
        return f"{group}: unknown option {name!r}; expected one of {', '.join(known)}{meant(name, known)}"
    if found is None:
        return str(error).partition("\nConfig search path")[0]
    key = found.group(1)
    group = key.partition(".")[0]
    new = replacement(key)
    if new is not None:
        return f"{key}: replaced by {new}"
    rest = [word for word in overrides if word.lstrip("+~").partition("=")[0] != key and "=" in word and word[0] != "-"]
    known, parent, addable = [], key.rpartition(".")[0], False
    with suppress(ConfigError):  # another override is wrong too
        known = _siblings(compose_config(rest), key)
        addable = bool(parent) and (not known or parent in known)  # an empty mapping, or null
    if known == [f"{group}.{NONE}"]:
        return f"{key}: the option none of {group} has no values; choose another option, as {group}=NAME"
    expected = f"; expected one of {', '.join(known)}{meant(key, known)}" if known else ""
    if addable:
        expected = f"; {parent} has no keys yet, and +{key}=VALUE adds one"
    return f"{key}: unknown{expected}" if known or parent else f"{key}: unknown: {error}"


def _siblings(config: DictConfig, key: str) -> list[str]:
    """The keys of the deepest existing parent of `key`."""
    parent = key
    while parent:
        parent = parent.rpartition(".")[0]
        node = OmegaConf.select(config, parent, throw_on_resolution_failure=False) if parent else config
        if isinstance(node, DictConfig):
            return [f"{parent}.{name}" if parent else str(name) for name in node if name != "_target_"]
    return []


def tracker_from_config(config: DictConfig, *, name: str, group: str | None) -> "Tracker":
    """Return the tracker that the configuration group `tracking` describes.

    Args:
        config: the composed configuration.
        name: the name of the run.
        group: the name of the sweep to which the run belongs; None: no sweep.

    Raises `ConfigError` and the errors of `make_tracker`.
    """
    from headrank.tracking import make_tracker

    config = chosen(config)
    return make_tracker(build(config.get("tracking")), recorded(config), name=name, group=group)


def main() -> None:
    """Run the command line.

    If torchrun or srun launched several processes, rank 0 runs the stages and the others only train. A wrong
    configuration ends with one line and exit code 2, another error of this package with one line and exit code 1.
    `HYDRA_FULL_ERROR=1` adds the traceback.
    """
    if Launch.from_environment().rank:
        sys.argv.append("hydra.output_subdir=null")  # rank 0 writes the run folder
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing
    try:
        check_launcher(sys.argv[1:])
        check_options(sys.argv[1:])
        sys.argv[1:] = for_jobs(sys.argv[1:])
        with interruptible(log=not Launch.from_environment().rank):  # one line instead of one per process
            _main()
    except (HeadRankError, HydraException, OmegaConfBaseException) as error:
        if full:
            traceback.print_exc()
        if isinstance(error, HydraException) and isinstance(
            error.__cause__, HeadRankError
        ):  # Hydra wraps the error of a plugin
            error = error.__cause__
        overrides = getattr(error, "job_overrides", sys.argv[1:])  # the overrides of the failed job
        print(f"error: {explanation(error, overrides)}", file=sys.stderr)
        bad = (ConfigError, ConfigCompositionException, OverrideParseException, OmegaConfBaseException)
        sys.exit(2 if isinstance(error, bad) else 1)


@hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="config")
def _main(config: DictConfig) -> float | None:
    """Run the configured experiment; returns what a search maximises, None on ranks above 0.

    A sweep's job that has already finished returns at once. A failure is recorded in `status.json` and `traceback.txt`.
    """
    check_extras(config)
    from headrank.errors import InUseError
    from headrank.io.artifacts import RunFolder
    from headrank.pipeline import finished_objective, join_experiment, run_experiment

    job, launch = HydraConfig.get(), Launch.from_environment()
    folder = Path(job.runtime.output_dir)
    set_up_logging(logging.WARNING if launch.rank else logging.INFO)
    if launch.world_size > 1 and job.mode == RunMode.MULTIRUN:
        raise ConfigError(
            f"a sweep in {launch.world_size} processes of {launch.launcher}: their jobs would not stay in step. On one "
            "machine set trainer.devices, which starts processes for each job; on several, start each job separately"
        )
    try:
        experiment = experiment_from_config(config, folder)
    except Exception as error:
        if not launch.rank:
            text = traceback.format_exc()
            run_folder = RunFolder(folder)
            with suppress(InUseError), run_folder.lock():  # keep the status of a run in progress
                run_folder.set_status("failed", "configuration", error=str(error), traceback=text)
        raise
    if launch.rank:
        join_experiment(experiment)
        return None
    name, group = folder.name, None
    if job.mode == RunMode.MULTIRUN:
        before = finished_objective(experiment)
        if before is not None:
            logger.info("%s: already finished", os.path.relpath(folder))
            return before
        # named by its overrides, except those of tracking and paths
        words = [word for word in job.overrides.task if not word.startswith(("tracking", "paths."))]
        name, group = ",".join(words) or name, Path(job.sweep.dir).name
    set_up_logging(file=folder / "run.log")  # set up here, so that a finished job does not touch its folder
    tracker = tracker_from_config(config, name=name, group=group)
    try:
        with interruptible():  # again here, since launchers run jobs in other processes
            outcome = run_experiment(experiment, tracker)
    except Exception as error:
        release(error)
        raise
    print((folder / "report.md").read_text(encoding="utf-8").split("\n\n## ")[0])
    print(f"\nreport: {os.path.relpath(outcome.report)}")
    return outcome.objective


def release(error: BaseException | None) -> None:
    """Free the objects that the stack frames of an exception hold, mainly the model.

    A sweep keeps the exceptions of failed jobs to its end, and the next job needs the memory.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()  # models and trainers have reference cycles


if __name__ == "__main__":
    # imported under its module name, so that a launcher's worker processes can import it
    from headrank.run import main as importable

    importable()
