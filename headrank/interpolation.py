"""Interpolations of the composed configuration: resolved to plain values, and the resolver of the run folder."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers.oc import env

from headrank.settings import wrong


def resolved(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain values, with all interpolations resolved. Never written to disk: see `recorded`."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def recorded(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain values for files on disk.

    All interpolations are resolved except `${oc.env:...}`: an environment variable may hold a secret.
    """

    def unresolved(*names: Any) -> str:
        return f"${{oc.env:{','.join('null' if name is None else str(name) for name in names)}}}"

    OmegaConf.register_new_resolver("oc.env", unresolved, replace=True)
    try:
        return resolved(config)
    finally:
        OmegaConf.register_new_resolver("oc.env", env, replace=True)


def inside(folder: str, name: Any) -> str:
    """The folder `name` within `folder`: the resolver of `paths.run`, called before anything is written.

    Raises `ConfigError` for an absolute name, a name with `..` and a name that is not text.
    """
    parts = Path(name).parts if isinstance(name, str) else ()
    if not parts or name.startswith(("/", "~")) or set(parts) & {"..", "."} or name != name.strip():
        raise wrong("name", name, "a folder's name within paths.output, such as run or a/b")
    return f"{folder}/{name}"


OmegaConf.register_new_resolver("inside", inside, replace=True)
