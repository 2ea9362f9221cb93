"""Build checked settings from the composed Hydra configuration.

Every error is a `ConfigError` that names the key as on the command line, the value, and what is expected.
"""

import copy
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from headrank.errors import ConfigError
from headrank.interpolation import recorded, resolved
from headrank.io.cache import cache_folder
from headrank.replaced_keys import check_replaced, replacement
from headrank.settings import Ge, Listed, SettingsError, meant, settings, wrong

if TYPE_CHECKING:
    from headrank.experiment import DataSettings, Experiment

# Modules that need torch or transformers are imported inside functions: they take seconds to import, and refusing a
# configuration needs neither.

logger = logging.getLogger("headrank")

_CHECKOUT = Path(__file__).parent.parent / "conf"
CONFIG_FOLDER = (
    _CHECKOUT if _CHECKOUT.is_dir() else Path(__file__).parent / "conf"
)  # a wheel holds conf/ inside the package

GROUPS = ("model", "prompt", "selection", "reading", "scorer", "report", "bm25")
"""The groups and sections from which settings objects are always built."""
LISTS = ("data", "benchmarks", "baselines", "teacher")
"""The groups whose options are named entries; of all but `teacher` several can be chosen."""
OTHERS = ("alignment", "loss", "trainer", "tracking", "debug", "states", "instructions", "paths")

NONE = "_none_"
"""The key that marks a group as switched off (`alignment: none`), whatever values an experiment sets in it."""


@settings
class MainSettings:
    """The values of `conf/config.yaml` that belong to no group."""

    name: str
    seed: int
    depth: Annotated[int, Ge(1)]
    max_queries: Annotated[int, Ge(1)] | None
    first_stage_runs: str | None
    requests: str | None
    metrics: Listed[str]
    objective: str
    objective_from: str


@settings
class PathSettings:
    """The values of the group `paths`, which `conf/paths/default.yaml` explains."""

    output: str  # the folder of run folders
    run: str  # the run folder
    cache: str | None  # None: the user's cache folder (`headrank.io.cache.cache_folder`)


def experiment_from_config(config: DictConfig, folder: Path) -> "Experiment":
    """Build the experiment that a composed configuration describes.

    folder: the run folder of the experiment.

    Raises `ConfigError` if a value is missing, unknown or wrong.
    """
    try:
        return _experiment(config, folder)
    except OmegaConfBaseException as error:
        raise ConfigError(explained(error)) from error


def _experiment(config: DictConfig, folder: Path) -> "Experiment":
    from headrank.data_sources import one_per_collection, with_requests, with_runs
    from headrank.experiment import MAIN_SYSTEM, Experiment, SystemSettings

    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigError(f"{', '.join(missing)}: expected a value, found none; set it with {missing[0]}=VALUE")
    config = chosen(config)
    check_replaced(OmegaConf.to_container(config, resolve=False))  # pyright: ignore[reportArgumentType]
    main, paths = _main_settings(config), _paths(config)
    for key in ("data", "benchmarks"):
        one_per_collection(config.get(key) or OmegaConf.create(), key)
    parts = {key: build(config.get(key)) for key in GROUPS}
    complete = with_bm25(config)
    lists: dict[str, dict[str, Any]] = {key: build(complete.get(key)) or {} for key in LISTS}
    states = config.get("states")
    rest = {"scorer": parts["scorer"], "prompt": parts["prompt"], "instructions": build(config.instructions) or {}}
    try:
        system = SystemSettings(**{**(parts["selection"] or {}), **rest})
    except SettingsError as error:  # the other keys belong to the group `selection`
        inside = [p.key.split(".")[0] not in rest for p in error.problems]
        problems = zip(error.problems, inside, strict=True)
        raise SettingsError(
            "", tuple(p._replace(key=f"selection.{p.key}") if group else p for p, group in problems)
        ) from None
    with_heads = {name: one for name, one in lists["baselines"].items() if isinstance(one, SystemSettings)}
    build(config.get("tracking"))  # checked here, used by the tracker
    check_instructions(system.instructions, lists["benchmarks"].values())
    train, benchmarks = with_requests(tuple(lists["data"].values()), tuple(lists["benchmarks"].values()), main.requests)
    with keys({"Experiment": ""}):
        experiment = Experiment(
            name=main.name,
            folder=folder,
            cache=Path(paths.cache) if paths.cache else cache_folder(),
            model=parts["model"],
            train=train,
            benchmarks=with_runs(benchmarks, main.first_stage_runs),
            systems={MAIN_SYSTEM: system, **with_heads},
            rerankers={name: one for name, one in lists["baselines"].items() if name not in with_heads},
            teacher=lists["teacher"],
            reading=parts["reading"],
            states=build(states) if states and states.folder else None,
            alignment=alignment_from_config(config),
            metrics=tuple(main.metrics),
            objective=main.objective,
            objective_from=main.objective_from,
            report=parts["report"],
            config_yaml=OmegaConf.to_yaml(recorded(config)),
            config=resolved(config),
        )
    debug = build(config.get("debug"))
    if debug is None:
        return experiment
    with keys({"Experiment": ""}):
        return debug.applied(experiment)


def chosen(config: DictConfig) -> DictConfig:
    """Copy the configuration without the parts that are not chosen.

    A group that is switched off becomes null: `alignment=none` means no alignment even if an experiment sets
    `alignment.epochs`. A benchmark, data set or baseline without a `_target_` is not chosen, and its entry is removed.

    Raises `ConfigError` if such an entry is not an option of its group, or if a group is not a section.
    """
    config = copy.deepcopy(config)
    OmegaConf.set_struct(config, False)
    for key in config:
        node = config.get(key)
        if isinstance(node, DictConfig) and node.get(NONE):
            config[key] = None
    for key in (*GROUPS, *LISTS, *OTHERS):
        section = config.get(key)
        if section is not None and not isinstance(section, DictConfig):
            raise wrong(key, section, "a section: keys with values")
    for key in LISTS:
        for name in list(config.get(key) or {}):
            entry = config[key].get(name)
            if entry is not None and not isinstance(entry, DictConfig):
                raise wrong(f"{key}.{name}", entry, "a section: keys with values")
            if entry is None or "_target_" not in entry:
                _check_option(str(key), str(name), entry is None)
                del config[key][name]
    return config


def _check_option(group: str, name: str, empty: bool) -> None:
    """Raise `ConfigError` unless the entry holds values of an option of the group that is not chosen."""
    options = sorted(file.stem for file in (CONFIG_FOLDER / group).glob("*.yaml"))
    if empty or name in options:
        logger.info("%s.%s: not chosen, its values have no effect", group, name)
        return
    raise ConfigError(f"{group}.{name}: unknown; expected one of {', '.join(options)}{meant(name, options)}")


def _main_settings(config: DictConfig) -> MainSettings:
    inside = {"hydra", *GROUPS, *LISTS, *OTHERS}
    values = {str(key): config.get(key) for key in config if key not in inside}
    unknown = [key for key in values if key not in MainSettings.__dataclass_fields__]
    if unknown:
        known = sorted({*inside, *MainSettings.__dataclass_fields__} - {"hydra"})
        raise ConfigError(f"{unknown[0]}: unknown; expected one of {', '.join(known)}{meant(unknown[0], known)}")
    with keys({"MainSettings": ""}):
        plain: dict[str, Any] = {
            k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in values.items()
        }
        return MainSettings(**plain)


def _paths(config: DictConfig) -> PathSettings:
    with keys({"PathSettings": "paths"}):
        return PathSettings(**{str(key): value for key, value in config.paths.items()})


def build(node: Any) -> Any:
    """Build the objects that the `_target_`s in a configuration node describe, as Hydra instantiates them.

    Nodes without a `_target_` become dicts, lists and plain values; None stays None.

    Raises `ConfigError` with the key of the node that failed.
    """
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        found = re.search(r"^full_key: (.*)$", str(error), re.MULTILINE)
        key, cause = found.group(1) if found else "", error.__cause__
        if isinstance(cause, SettingsError):
            raise cause.under(key) from error
        target = re.match(r"Error locating target '([^']*)'", str(error))
        if target:
            raise ConfigError(
                f"{key}._target_ is {target.group(1)!r}, expected a name that can be imported: {_first_cause(cause)}"
            ) from error
        raise ConfigError(f"{key}: {cause or str(error).splitlines()[0]}") from error


def explained(error: BaseException) -> str:
    """Return the message of an OmegaConf or Hydra error in one line.

    If a `ConfigError` of this package caused the error, the result is the message of that `ConfigError`. After an
    unknown key that was renamed, the message gives its new name.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ConfigError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return str(cause)
    unknown = re.match(r"Interpolation key '([^']+)' not found", str(error))
    new = replacement(unknown.group(1)) if unknown else None
    return "; ".join(line.strip() for line in (*str(error).splitlines(), *([f"replaced by {new}"] if new else [])))


def _first_cause(error: BaseException | None) -> str:
    """The message of the first error of a chain in one line: it names the missing module."""
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())


@contextmanager
def keys(owners: Mapping[str, str]) -> Iterator[None]:
    """Make errors of settings name configuration keys instead of classes within this context.

    owners: name of a settings class -> its key in the configuration, for example `AlignmentSettings` -> `alignment`.
        Errors of other classes are raised unchanged.
    """
    try:
        yield
    except SettingsError as error:
        if error.owner not in owners:
            raise
        raise error.under(owners[error.owner]) from None


def check_instructions(instructions: Mapping[str, str], benchmarks: "Iterable[DataSettings]") -> None:
    """Log a warning for each instruction whose benchmark does not exist, which is probably a misspelt name.

    Args:
        instructions: name of the benchmark -> instruction.
        benchmarks: the chosen benchmarks; those in `conf/benchmarks` are known too.
    """
    known = {one.name for one in benchmarks}
    if instructions.keys() <= known:
        return
    known |= {
        str(OmegaConf.select(OmegaConf.load(file), f"{file.stem}.name"))
        for file in (CONFIG_FOLDER / "benchmarks").glob("*.yaml")
    }
    for name in sorted(instructions.keys() - known):
        logger.warning("instructions.%s: no benchmark has this name, so it has no effect%s", name, meant(name, known))


def with_bm25(config: DictConfig) -> DictConfig:
    """Copy the configuration, with the section `bm25` as the default of `bm25` in every data set and benchmark."""
    config = copy.deepcopy(config)
    for entry in [*(config.get("data") or {}).values(), *(config.get("benchmarks") or {}).values()]:
        entry.bm25 = OmegaConf.merge(config.get("bm25") or {}, entry.get("bm25") or {})
    return config


def alignment_from_config(config: DictConfig) -> Any:
    """Build the `AlignmentSettings` that the groups `alignment`, `loss` and `trainer` describe.

    Returns None if no alignment is chosen. Raises `ConfigError` if a value is wrong.
    """
    if not config.get("alignment"):
        return None
    from headrank.alignment.settings import AlignmentSettings

    options, terms, trainer = (build(config.get(key)) for key in ("alignment", "loss", "trainer"))
    with keys({"AlignmentSettings": "alignment", "WeightedLosses": "loss"}):
        return AlignmentSettings.from_terms(terms, **options, trainer=trainer)
