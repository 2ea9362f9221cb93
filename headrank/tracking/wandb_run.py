"""Log a run to Weights & Biases (W&B): configuration, heads, training curves, results, report, status and times.

All values come from the run folder or the results, so the local report shows the same. Checked with wandb 0.31. The
optional package wandb is imported only when a run is tracked.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import StringConstraints

from headrank.evaluation import BenchmarkResult, Table
from headrank.extras import require_extra
from headrank.io.artifacts import artifact_key
from headrank.settings import Gt, Listed, one_of, settings, wrong
from headrank.tracking.base import NoTracker, Tracker
from headrank.tracking.ledger import NAME, Ledger
from headrank.tracking.names import EPOCH, POSITION, REPORT, check_names, figure_key, key
from headrank.tracking.offline_folders import OfflineFolders
from headrank.tracking.values import epoch_values, position_rows, result_tables, result_values

if TYPE_CHECKING:
    import wandb

logger = logging.getLogger(__name__)

MODES = ("online", "offline", "disabled")
_MAX_NAME_LENGTH = 128  # of a run's or a group's name; W&B refuses longer ones
_LOCATION_KEYS = ("tracking", "paths")  # keys of the configuration that say where, not what, a run is


@settings
class WandbSettings:
    """The settings of tracking in Weights & Biases: the destination of a run, and what is uploaded."""

    project: str = "headrank"
    entity: str | None = None  # user or team; None: the account's default
    group: str | None = None  # None: jobs of a sweep share the name of its folder; a single run has no group
    tags: Listed[Annotated[str, StringConstraints(min_length=1, max_length=64)]] = ()  # lengths that W&B accepts
    # online | offline (written to the run folder, for `wandb sync`) | disabled (nothing is written)
    mode: Annotated[str, one_of(MODES)] = "online"
    log_model: bool = False  # also upload the aligned checkpoint; heads are always uploaded
    max_model_gb: Annotated[float, Gt(0)] = 5.0  # a larger checkpoint is not uploaded, with a warning

    def __post_init__(self) -> None:
        if not 0 < len(self.project) <= 128 or set(self.project) & set("/\\#?%:"):  # W&B's own rule
            raise wrong("project", self.project, "1 to 128 characters without / \\ # ? % :")


def make_tracker(settings: WandbSettings | None, config: Mapping[str, Any], *, name: str, group: str | None) -> Tracker:
    """Make the tracker of one run. Under distributed training only the process of rank 0 is tracked.

    Args:
        settings: the destination. None, or mode `disabled`: the run is not tracked.
        config: the composed configuration as plain values.
        name: the name of the run.
        group: the name of the sweep that the run belongs to, used if the settings name no group. None: no group.

    Returns:
        A `WandbTracker`; or, if this process is not tracked, a `NoTracker`, which does nothing.

    Raises:
        MissingExtraError: W&B is not installed.
    """
    if settings is None or settings.mode == "disabled" or process_rank() != 0:
        return NoTracker()
    require_extra("wandb", "tracking=wandb", "wandb")
    return WandbTracker(settings, config, name=name, group=settings.group or group)


def process_rank() -> int:
    """Return the rank of this process, from the environment variables of torchrun, Lightning or SLURM.

    The rank is 0 if none of the variables is set.
    """
    for variable in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if os.environ.get(variable, "").isdigit():
            return int(os.environ[variable])
    return 0


class WandbTracker:
    """Logs the run of a run folder to a W&B run.

    If the same configuration is run again in the folder, the same W&B run is resumed. In offline mode the resumed run
    logs everything again, and its new W&B folder replaces the earlier one.

    Args:
        settings: the destination in W&B.
        config: the composed configuration as plain values.
        name: the name of the run.
        group: the name of its group; None: no group.
    """

    def __init__(self, settings: WandbSettings, config: Mapping[str, Any], *, name: str, group: str | None) -> None:
        self.settings, self.config, self.name, self.group = settings, dict(config), name, group
        self._run: "wandb.Run | None" = None
        self._ledger: Ledger | None = None
        self._folders: OfflineFolders | None = None

    def start(self, folder: Path, *, systems: Iterable[str], benchmarks: Iterable[str]) -> None:
        """Open the W&B run of a run folder. See `Tracker.start` for the arguments.

        Raises:
            ValueError: two systems or two benchmarks have the same key (`names.key`).
            wandb.Error: an online run cannot be opened, for instance without an API key or a network.
        """
        import wandb

        check_names("systems", systems)
        check_names("benchmarks", benchmarks)
        s = self.settings
        identity = {name: value for name, value in self.config.items() if name not in _LOCATION_KEYS}
        offline = s.mode == "offline"
        self._ledger = Ledger(folder / NAME, artifact_key(identity, s.project, s.entity), offline=offline)
        self._run = run = wandb.init(
            entity=s.entity,
            project=s.project,
            dir=str(folder),
            id=self._ledger.run_id,
            resume=None if offline else "allow",  # offline: it holds everything and replaces an uploaded run
            name=self.name[:_MAX_NAME_LENGTH],
            group=self.group and self.group[:_MAX_NAME_LENGTH],
            tags=list(s.tags),
            config=self.config,
            allow_val_change=True,  # paths may change between starts
            mode="offline" if offline else "online",
            settings=wandb.Settings(silent=True),  # the log names the address
            reinit="create_new",  # another job of this process may have left a run open
        )
        self._folders = OfflineFolders(folder, self._ledger.run_id, Path(run.dir).parent)
        self._save()
        for pattern, step in (("train/*", EPOCH), ("val/*", EPOCH), ("heads/*", EPOCH), ("positions/*", POSITION)):
            run.define_metric(pattern, step_metric=step)
        address = run.url if s.mode == "online" else f"`wandb sync {folder / 'wandb'}` uploads this run"
        logger.info("tracking: %s", address)

    def status(self, status: Mapping[str, Any]) -> None:
        """Update the W&B run's summary with state, stage, error, the seconds of each stage, and the objective if given.

        Do nothing if no W&B run is open. See `Tracker.status`.
        """
        if self._run is None:
            return
        values = {key("status", name): status.get(name, "") for name in ("state", "stage", "error")}
        values |= {key("time", stage): seconds for stage, seconds in status.get("seconds", {}).items()}
        if "objective" in status:
            values["objective"] = status["objective"]
        self._run.summary.update(values)

    def files(self, kind: str, folder: Path, names: Sequence[str]) -> None:
        """Log these files as the artifact `<kind>-<run id>`, unless the same content was already logged.

        A `model` is logged only if `tracking.log_model` is set, and skipped with a warning if it exceeds
        `tracking.max_model_gb`. See `Tracker.files` for the arguments.
        """
        import wandb

        run, ledger = self._opened()
        if kind == "model" and not self._uploads_model(folder, names):
            return
        artifact_name = f"{kind}-{ledger.run_id}"
        artifact = wandb.Artifact(artifact_name, type=kind, metadata={"run": self.name})
        for name in names:
            path = folder / name
            if path.is_dir():
                artifact.add_dir(str(path), name=name, policy="immutable")  # reads the files in place, without a copy
            else:
                artifact.add_file(str(path), name=name)
        digest = artifact.digest
        if ledger.files.get(artifact_name) != digest:
            run.log_artifact(artifact)
            ledger.files[artifact_name] = digest
            self._save()

    def epochs(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        """Log each epoch that was not logged yet as a row of the run's history, with the epoch as its step.

        See `Tracker.epochs`.
        """
        run, ledger = self._opened()
        for row in rows[ledger.epochs :]:
            step = int(row[EPOCH])
            run.log(epoch_values(row), step=step, commit=True)
            ledger.epochs, ledger.step = ledger.epochs + 1, step + 1
            self._save()

    def results(
        self, results: Sequence[BenchmarkResult], folder: Path, *, metric: str, numbers: Mapping[str, float | int]
    ) -> None:
        """Log values, tables, figures and the report, unless the same results were already logged.

        They become rows of the run's history: one row per eighth of the context with the selectivity there, and a last
        row with everything else. See `Tracker.results` for the arguments.
        """
        run, ledger = self._opened()
        content = artifact_key([result.to_dict() for result in results], metric, dict(numbers))
        if ledger.results == content:
            return
        media: dict[str, Any] = {name: _table(table) for name, table in result_tables(results, metric).items()}
        for path in sorted((folder / "figures").glob("*.svg")):
            media[figure_key(path.stem)] = _page(path)
        media[REPORT] = _page(folder / "report.html")
        rows = [*position_rows(results), {**result_values(results, numbers), **media}]
        first = max(run.step, ledger.step)  # W&B refuses a row before its latest one
        for step, row in enumerate(rows, first):
            run.log(row, step=step, commit=True)
        ledger.results, ledger.step = content, first + len(rows)
        self._save()

    def finish(self, *, failed: bool) -> None:
        """Close the W&B run, with exit code 1 if the run failed, and delete offline folders that are no longer needed.

        Do nothing if no W&B run is open. See `Tracker.finish`.
        """
        run, self._run = self._run, None
        if run is None:
            return
        run.finish(exit_code=1 if failed else 0)
        if self._folders is not None and self._ledger is not None:
            if not self._ledger.complete:
                logger.info("tracking: this start logged less than the earlier offline run, which is kept")
            self._folders.remove(complete=self._ledger.complete)

    def _save(self) -> None:
        """Save the ledger. Once it is complete, the newest offline folder replaces the older ones."""
        _, ledger = self._opened()
        ledger.save()
        if ledger.complete and self._folders is not None:
            self._folders.replace()

    def _uploads_model(self, folder: Path, names: Sequence[str]) -> bool:
        if not self.settings.log_model:
            return False
        size = sum(path.stat().st_size for name in names for path in (folder / name).rglob("*") if path.is_file()) / 1e9
        if size > self.settings.max_model_gb:
            logger.warning(
                "tracking: %s has %.2f GB, more than tracking.max_model_gb=%g: not uploaded, kept in %s",
                *(", ".join(names), size, self.settings.max_model_gb, folder),
            )
            return False
        return True

    def _opened(self) -> "tuple[wandb.Run, Ledger]":
        if self._run is None or self._ledger is None:
            raise RuntimeError("expected an open W&B run: call start() first, and nothing after finish()")
        return self._run, self._ledger


def _table(table: Table) -> "wandb.Table":
    import wandb

    headings = table.unit_headings
    # W&B needs unique headings
    columns: list[Any] = [f"{h} ({i})" if h in headings[:i] else h for i, h in enumerate(headings)]
    rows: list[Any] = table.in_units()
    return wandb.Table(columns=columns, data=rows)


def _page(path: Path) -> "wandb.Html":
    import wandb

    return wandb.Html(path.read_text(encoding="utf-8"), inject=False)
