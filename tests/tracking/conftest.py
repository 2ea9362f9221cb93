"""No test here reaches a network: runs are offline, and whoever asks for one finds a port where nobody listens."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir

from headrank.configuration import chosen, recorded
from headrank.pipeline import run_experiment
from headrank.run import CONFIG_FOLDER, experiment_from_config, tracker_from_config

WORDS = (
    "debug=fast",
    "alignment=lora",
    "baselines=[icr]",
    "alignment.epochs=2",
    "tracking=wandb",
    "tracking.project=test",
    "tracking.tags=[debug]",
)


@pytest.fixture(scope="session", autouse=True)
def no_network(tmp_path_factory):
    home = tmp_path_factory.mktemp("wandb-home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")
        for name in ("DATA", "CACHE", "CONFIG"):
            patch.setenv(f"WANDB_{name}_DIR", str(home / name.lower()))
        patch.delenv("WANDB_API_KEY", raising=False)
        yield


@pytest.fixture(scope="session")
def start(no_network):
    """Composes and runs an experiment in a folder as the command line would; returns experiment, config and outcome."""

    def run(folder: Path, *words: str, group: str | None = None) -> SimpleNamespace:
        with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base="1.3"):
            config = compose("config", list(words))
        tracker = tracker_from_config(config, name=folder.name, group=group)
        experiment = experiment_from_config(config, folder)
        outcome = run_experiment(experiment, tracker)
        plain = recorded(chosen(config))  # environment variables stay unresolved
        return SimpleNamespace(folder=folder, experiment=experiment, config=plain, outcome=outcome, tracker=tracker)

    return run


@pytest.fixture(scope="session")
def tracked(start, tmp_path_factory):
    """A run of the whole pipeline at debug size, aligned, beside a baseline, tracked offline."""
    return start(tmp_path_factory.mktemp("outputs") / "tracked", *WORDS, "tracking.log_model=true")
