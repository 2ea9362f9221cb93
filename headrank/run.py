"""The command line: composes the configuration, runs the stages, returns the sweep's objective.

python -m headrank.run                                  the embedded model on the sample collection
python -m headrank.run +experiment=qwen3_4b             one of conf/experiment
python -m headrank.run -m +experiment=nano scorer.order=shuffled seed=0,1,2   a Hydra multirun
python -m headrank.run --cfg job +experiment=qwen3_4b   print the configuration, nothing else
"""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from headrank.cache import cache_folder
from headrank.started import Started

if TYPE_CHECKING:
    from headrank.experiment import Experiment

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
    groups = ("model", "data", "benchmarks", "prompt", "selection", "reading", "scorer", "baselines")
    # A group of which no option is chosen (baselines=[], alignment=none) is absent from the configuration. What stands
    # under `debug` takes the place of a group that is there.
    debug = config.get("debug") or {}
    nodes = {**config, **{key: value for key, value in debug.items() if config.get(key)}}
    parts: dict[str, Any] = {key: instantiate(nodes[key], _convert_="all") if key in nodes else {} for key in groups}
    selection = parts["selection"]
    main = SystemSettings(
        selection["criterion"], selection["heads"], selection["entropy_weight"], parts["scorer"], parts["prompt"]
    )
    return Experiment(
        name=config.name,
        folder=folder,
        cache=Path(config.paths.cache) if config.paths.cache else cache_folder(),
        model=parts["model"],
        train=tuple(parts["data"].values()),
        benchmarks=tuple(parts["benchmarks"].values()),
        systems={MAIN_SYSTEM: main, **parts["baselines"]},
        selection=parts["reading"],
        alignment=alignment_from_config(nodes),
        metrics=tuple(config.metrics),
        objective=config.objective,
        config_yaml=OmegaConf.to_yaml(config, resolve=True),
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


def main() -> None:
    """The command line. Where torchrun or srun started several processes, the first runs and the others help it."""
    if Started.of().rank:
        sys.argv.append("hydra.output_subdir=null")  # the run's folder is the first's
    _main()


@hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="config")
def _main(config: DictConfig) -> float | None:
    """Run the configured experiment; the return value is what a Hydra sweeper maximises."""
    from headrank.pipeline import help_experiment, run_experiment

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
    experiment = experiment_from_config(config, folder)
    if started.rank:
        help_experiment(experiment)
        return None
    outcome = run_experiment(experiment)
    print((folder / "report.md").read_text(encoding="utf-8").split("\n\n## ")[0])
    print(f"\nreport: {os.path.relpath(outcome.report)}")
    return outcome.objective


if __name__ == "__main__":
    main()
