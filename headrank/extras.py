"""Define the extras of this package: the packages that each needs and how to install them.

This module does not import those packages, so a missing one is reported before anything is loaded.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from headrank.errors import ConfigError

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"  # in a checkout; a wheel has none
# extra -> its modules and the names under which they are installed
EXTRAS: Mapping[str, Mapping[str, str]] = {
    "train": {"lightning": "lightning", "peft": "peft"},
    "baselines": {"sentence_transformers": "sentence-transformers"},
    "serve": {"fastapi": "fastapi", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client"},
    "vllm": {"vllm": "vllm"},
    "wandb": {"wandb": "wandb", "wandb_workspaces": "wandb-workspaces"},
    "sweep": {"optuna": "optuna", "hydra_plugins.hydra_joblib_launcher": "hydra-joblib-launcher"},
    "slurm": {"hydra_plugins.hydra_submitit_launcher": "hydra-submitit-launcher"},
    "ray": {"ray": "ray"},
    "langchain": {"langchain_core": "langchain-core"},
    "llama-index": {"llama_index.core": "llama-index-core"},
    "haystack": {"haystack": "haystack-ai"},
    "pyterrier": {"pyterrier": "pyterrier"},
    "mteb": {"mteb": "mteb"},
    "rerankers": {"rerankers": "rerankers"},
}
LAUNCHERS = {"processes": "sweep", "joblib": "sweep", "slurm": "slurm", "submitit_slurm": "slurm"}
LAUNCHERS |= {"ray_cpu": "ray", "ray_gpu": "ray"}


class MissingExtraError(ConfigError, ModuleNotFoundError):
    """A setting needs an extra of this package whose packages are not installed."""


def install_command(extra: str = "") -> str:
    """Return the command that installs this package, with the named extra or, if `extra` is "", without extras.

    In a checkout the command contains `-c constraints.txt`, except for the extra `vllm`, because vLLM needs other
    versions of some packages than that file allows.
    """
    brackets = f"[{extra}]" if extra else ""
    if not PYPROJECT.is_file():
        return f"python -m pip install 'headrank{brackets}'"
    constraint = "" if extra == "vllm" else "-c constraints.txt "
    return f"python -m pip install {constraint}-e '.{brackets}'"


def require_extra(extra: str, purpose: str, *modules: str) -> None:
    """Raise `MissingExtraError` unless modules of an extra are installed.

    Args:
        extra: the name of the extra.
        purpose: the setting or command that needs the modules, as the user wrote it; it is part of the message.
        modules: the needed modules of the extra; without any, all modules of the extra.
    """
    packages = EXTRAS[extra]
    missing = [packages[module] for module in modules or packages if not _found(module)]
    if missing:
        raise MissingExtraError(
            f"{purpose} needs {' and '.join(missing)}, which is not installed. Install the extra `{extra}`: "
            f"{install_command(extra)}"
        )


def needed_extras(config: Mapping[str, Any]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the extras that a composed configuration needs.

    A group needs its extra only if one of its options is chosen: with `alignment=none`, an experiment's values for
    `alignment` are still in the configuration. A sweeper needs its extra only if the configuration contains Hydra's own
    section.

    Returns:
        The name of each extra -> (the setting that needs it, the needed modules), such as
        {"wandb": ("tracking=wandb", ("wandb",))}. Without modules, all modules of the extra are needed.
    """
    needed: dict[str, tuple[str, tuple[str, ...]]] = {}
    baselines = config.get("baselines") or {}
    if _chosen(config, "alignment"):
        needed["train"] = ("alignment", ())
    if "_target_" in (baselines.get("cross_encoder") or {}):
        needed["baselines"] = ("baselines=[cross_encoder]", ())
    if (baselines.get("generative") or {}).get("backend") == "vllm":
        needed["vllm"] = ("baselines.generative.backend=vllm", ())
    if _chosen(config, "tracking") and config["tracking"].get("mode") != "disabled":
        needed["wandb"] = ("tracking=wandb", ("wandb",))
    sweeper = ((config.get("hydra") or {}).get("sweeper") or {}).get("_target_", "")
    if sweeper.endswith("OptunaSweeper"):
        needed["sweep"] = ("hydra/sweeper=optuna", ("optuna",))
    return needed


def check_extras(config: Mapping[str, Any]) -> None:
    """Raise `MissingExtraError` if the configuration needs an extra that is not installed."""
    for extra, (purpose, modules) in needed_extras(config).items():
        require_extra(extra, purpose, *modules)


def check_launcher(arguments: Sequence[str]) -> None:
    """Raise `MissingExtraError` if a command line names a Hydra launcher whose package is missing.

    Without this check, Hydra would report an unknown group.
    """
    for word in arguments:
        key, _, name = word.lstrip("+").partition("=")
        if key == "hydra/launcher" and name in LAUNCHERS:
            extra = LAUNCHERS[name]
            require_extra(extra, word, *(module for module in EXTRAS[extra] if module != "optuna"))


def _chosen(config: Mapping[str, Any], group: str) -> bool:
    return bool(config.get(group)) and not config[group].get("_none_")


def _found(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False
