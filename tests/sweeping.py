"""The configured sweeper of a command line, as Hydra makes it, without launching anything."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode

from headrank.run import CONFIG_FOLDER


@contextmanager
def sweeper(*overrides: str) -> Iterator[tuple[Any, list[str]]]:
    """The sweeper and its arguments."""
    with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        config = hydra.compose_config("config", list(overrides), run_mode=RunMode.MULTIRUN)
        context = HydraContext(hydra.config_loader, Callbacks())
        made = Plugins.instance().instantiate_sweeper(config=config, hydra_context=context, task_function=print)
        yield made, list(config.hydra.overrides.task)
