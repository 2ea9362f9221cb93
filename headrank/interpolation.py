"""Resolve interpolations (`${...}`) of the composed configuration, and define the resolver of `paths.run`."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers.oc import env

from headrank.settings import wrong


def resolved(config: DictConfig) -> dict[str, Any]:
    """Return the configuration as plain values, with all interpolations resolved.

    The values may hold secrets from environment variables: never write them to disk, see `recorded`.
    """
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def recorded(config: DictConfig) -> dict[str, Any]:
    """Return the configuration as plain values that may be written to disk.

    All interpolations are resolved except `${oc.env:...}`, because an environment variable may hold a secret.
    """

    def unresolved(*names: Any) -> str:
        return f"${{oc.env:{','.join('null' if name is None else str(name) for name in names)}}}"

    OmegaConf.register_new_resolver("oc.env", unresolved, replace=True)
    try:
        return resolved(config)
    finally:
        OmegaConf.register_new_resolver("oc.env", env, replace=True)


def inside(folder: str, name: Any) -> str:
    """Return the path of the folder `name` within `folder`. It is the resolver behind `paths.run`.

    It runs before anything is written. Raises `ConfigError` if `name` is not text, is empty, absolute, contains `..`,
    or starts or ends with a space.
    """
    parts = Path(name).parts if isinstance(name, str) else ()
    if not parts or name.startswith(("/", "~")) or set(parts) & {"..", "."} or name != name.strip():
        raise wrong("name", name, "a folder's name within paths.output, such as run or a/b")
    return f"{folder}/{name}"


OmegaConf.register_new_resolver("inside", inside, replace=True)
