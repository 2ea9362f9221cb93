"""Make the dashboard of an experiment in a Weights & Biases project (extra `wandb`).

python -m headrank.dashboard --entity TEAM --project headrank +experiment=qwen3_4b alignment=lora
python -m headrank.dashboard --print +experiment=nano       as JSON, without an account

Give the overrides of the run after the options, because they decide which benchmarks, systems and losses the dashboard
shows. All runs of the project appear in it.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from headrank.errors import ConfigError
from headrank.extras import MissingExtraError, require_extra
from headrank.logs import set_up_logging
from headrank.run import compose_config, experiment_from_config


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Exits with 2 for wrong arguments, and with 1 if the extra `wandb` is not installed or W&B refuses the dashboard.
    """
    parser = argparse.ArgumentParser(prog="headrank dashboard", description="Make the W&B dashboard of an experiment.")
    parser.add_argument("--entity", default="", help="user or team that owns the project")
    parser.add_argument("--project", default="headrank", help="the project (default: %(default)s)")
    parser.add_argument("--name", default="HeadRank", help="the name of the dashboard (default: %(default)s)")
    parser.add_argument("--print", action="store_true", help="print the definition as JSON; needs no account")
    parser.add_argument("--config-dir", help="a folder with further options, as for headrank.run")
    parser.add_argument("overrides", nargs="*", help="the run's overrides, such as +experiment=nano alignment=lora")
    options = parser.parse_args(arguments)
    set_up_logging(logging.WARNING)
    if not options.print and not options.entity:
        parser.error("--entity is required: the user or team that owns the project (or use --print)")
    try:
        require_extra("wandb", "headrank.dashboard")
    except MissingExtraError as error:
        parser.exit(1, f"error: {error}\n")
    try:
        config = compose_config(options.overrides, config_dir=options.config_dir)
        experiment = experiment_from_config(config, Path("unused"))
    except ConfigError as error:
        parser.error(str(error))
    from headrank.tracking.panels import dashboard_sections, pinned_keys
    from headrank.tracking.workspace import make_workspace, save_workspace, workspace_json

    workspace = make_workspace(
        dashboard_sections(experiment),
        entity=options.entity,
        project=options.project,
        name=options.name,
        pinned=pinned_keys(experiment),
    )
    if options.print:
        print(json.dumps(workspace_json(workspace), indent=1))
        return
    try:
        print(save_workspace(workspace))
    except ConnectionError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
