"""`headrank prepare`: fetches all files that an experiment reads and builds its candidate lists. Loads no model.

Run it on a machine with a network. The experiment then runs without one, and holds no GPU during downloads.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrank.experiment import Experiment


def prepare(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="As for headrank run: +experiment=NAME, group=option, key=value")
    ] = None,
    config_dir: Annotated[str | None, typer.Option(help="A folder with further options, as for headrank run.")] = None,
) -> None:
    """Download, unpack and index the data of an experiment and fetch its models, without loading them.

    Examples:

    headrank prepare +experiment=qwen3_4b

    HF_HUB_OFFLINE=1 headrank run +experiment=qwen3_4b

    A second call finds everything and ends at once. Exit codes: 0, or those of headrank.
    """
    from headrank.cli.errors import one_line_errors
    from headrank.logs import set_up_logging
    from headrank.run import compose_config, experiment_from_config

    set_up_logging()
    with one_line_errors():
        prepare_experiment(
            experiment_from_config(compose_config(overrides or [], config_dir=config_dir), Path("unused"))
        )
    print("prepared; `headrank doctor` shows details", file=sys.stderr)


def prepare_experiment(experiment: "Experiment") -> None:
    """Fetch the files of all models, then build the candidate lists of all data sets (downloads, indexes, BM25 runs).

    Raises what loading raises: for missing files, unknown ids, and a missing network.
    """
    from headrank.model import BackboneSettings
    from headrank.model.loading.folder import model_folder
    from headrank.stages.lists import DataLoader

    models = [experiment.model]
    for _, reranker in experiment.keyed_rerankers:
        own = getattr(reranker, "model", None)
        models += [own] if isinstance(own, BackboneSettings) else []
    for settings in dict.fromkeys(models):
        model_folder(settings.model, settings.revision, required=settings.required_files)
    loader = DataLoader(experiment.cache)
    if experiment.train:
        loader.labelled(experiment.train)
    for benchmark in experiment.benchmarks:
        loader.load(benchmark)
