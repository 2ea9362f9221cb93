"""A run in Weights & Biases: configuration, heads, training curves as they come, results, report, status and times.

Everything is read from the run folder or the results, so the local report says the same. Checked on wandb 0.31.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import wandb
from pydantic import StringConstraints

from headrank.evaluation import BenchmarkResult, Table
from headrank.extras import require_extra
from headrank.io.artifacts import artifact_key
from headrank.settings import Gt, Listed, one_of, settings, wrong
from headrank.tracking.base import NoTracker, Tracker
from headrank.tracking.ledger import NAME, Ledger
from headrank.tracking.names import EPOCH, PLACE, REPORT, check_names, figure_key, key
from headrank.tracking.offline_folders import OfflineFolders
from headrank.tracking.values import epoch_values, place_rows, result_tables, result_values

MODES = ("online", "offline", "disabled")


@settings
class WandbSettings:
    """Where in Weights & Biases a run goes."""

    project: str = "headrank"
    entity: str | None = None  # user or team; None: the account's default
    group: str | None = None  # None: a sweep's jobs share the name of its folder, a single run has no group
    tags: Listed[Annotated[str, StringConstraints(min_length=1, max_length=64)]] = ()  # W&B refuses others
    # online | offline (kept in the run folder, for `wandb sync`) | disabled (nothing is written)
    mode: Annotated[str, one_of(MODES)] = "online"
    log_model: bool = False  # upload the aligned checkpoint, too; heads always are
    max_model_gb: Annotated[float, Gt(0)] = 5.0  # a larger checkpoint stays where it is, and a warning says so

    def __post_init__(self) -> None:
        if not 0 < len(self.project) <= 128 or set(self.project) & set("/\\#?%:"):  # W&B's own rule
            raise wrong("project", self.project, "1 to 128 characters without / \\ # ? % :")


def make_tracker(settings: WandbSettings | None, config: Mapping[str, Any], *, name: str, group: str | None) -> Tracker:
    """The tracker of one run.

    settings: None for none. config: the composed configuration in plain values. name: of the run. group: of the sweep
    that the run is a job of, where the settings name none.

    Under distributed training every process runs the pipeline; only the first of them is tracked. Raises
    `MissingExtraError` if W&B is not installed; nothing has been computed by then.
    """
    if settings is None or settings.mode == "disabled" or process_rank() != 0:
        return NoTracker()
    require_extra("wandb", "tracking=wandb", "wandb")
    from headrank.tracking.wandb_run import WandbTracker

    return WandbTracker(settings, config, name=name, group=settings.group or group)


def process_rank() -> int:
    """This process's rank, as torchrun, Lightning or SLURM says in the environment; 0 where nobody does."""
    for variable in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if os.environ.get(variable, "").isdigit():
            return int(os.environ[variable])
    return 0


logger = logging.getLogger(__name__)

_LONGEST = 128  # characters of a run's or a group's name, beyond which W&B refuses a run
_PLACE_OF_RUN = ("tracking", "paths")  # parts of a configuration that say where, not what, a run is


class WandbTracker:
    """One run folder's W&B run.

    config: plain values. name, group: the run's. A folder that is run again with the same configuration continues the
    same W&B run; offline, the new start's folder holds everything and replaces the earlier one.
    """

    def __init__(self, settings: WandbSettings, config: Mapping[str, Any], *, name: str, group: str | None) -> None:
        self.settings, self.config, self.name, self.group = settings, dict(config), name, group
        self._run: wandb.Run | None = None
        self._ledger: Ledger | None = None
        self._folders: OfflineFolders | None = None

    def start(self, folder: Path, *, systems: Iterable[str], benchmarks: Iterable[str]) -> None:
        """Open the W&B run. Raises wandb's own errors if an online run cannot be opened (no key, no network), and
        `ValueError` where two names would share a key."""
        check_names("systems", systems)
        check_names("benchmarks", benchmarks)
        s = self.settings
        what = {name: value for name, value in self.config.items() if name not in _PLACE_OF_RUN}
        offline = s.mode == "offline"
        self._ledger = Ledger(folder / NAME, artifact_key(what, s.project, s.entity), offline=offline)
        self._run = run = wandb.init(
            entity=s.entity,
            project=s.project,
            dir=str(folder),
            id=self._ledger.run_id,
            resume=None if offline else "allow",  # offline: it holds everything, and replaces an uploaded run
            name=self.name[:_LONGEST],
            group=self.group and self.group[:_LONGEST],
            tags=list(s.tags),
            config=self.config,
            allow_val_change=True,  # of what may change between starts, such as paths
            mode="offline" if offline else "online",
            settings=wandb.Settings(silent=True),  # the log says where the run is
            reinit="create_new",  # never the run that another job of this process left open
        )
        self._folders = OfflineFolders(folder, self._ledger.run_id, Path(run.dir).parent)
        self._save()
        for pattern, step in (("train/*", EPOCH), ("val/*", EPOCH), ("heads/*", EPOCH), ("places/*", PLACE)):
            run.define_metric(pattern, step_metric=step)
        where = run.url if s.mode == "online" else f"`wandb sync {folder / 'wandb'}` uploads this run"
        logger.info("tracking: %s", where)

    def status(self, status: Mapping[str, Any]) -> None:
        """State, stage, error and each stage's time into the summary, overwriting what stood there."""
        if self._run is None:
            return
        values = {key("status", name): status.get(name, "") for name in ("state", "stage", "error")}
        values |= {key("time", stage): seconds for stage, seconds in status.get("seconds", {}).items()}
        if "objective" in status:
            values["objective"] = status["objective"]
        self._run.summary.update(values)

    def files(self, kind: str, folder: Path, names: Sequence[str]) -> None:
        """An artifact `<kind>-<run id>` with these files, unless the run has it already."""
        run, ledger = self._opened()
        if kind == "model" and not self._wants_model(folder, names):
            return
        artifact_name = f"{kind}-{ledger.run_id}"
        artifact = wandb.Artifact(artifact_name, type=kind, metadata={"run": self.name})
        for name in names:
            path = folder / name
            if path.is_dir():
                artifact.add_dir(str(path), name=name, policy="immutable")  # read where it is, not copied first
            else:
                artifact.add_file(str(path), name=name)
        digest = artifact.digest
        if ledger.files.get(artifact_name) != digest:
            run.log_artifact(artifact)
            ledger.files[artifact_name] = digest
            self._save()

    def epochs(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        """A row of history for each epoch that has none yet, at the step of its number."""
        run, ledger = self._opened()
        for row in rows[ledger.epochs :]:
            step = int(row[EPOCH])
            run.log(epoch_values(row), step=step, commit=True)
            ledger.epochs, ledger.step = ledger.epochs + 1, step + 1
            self._save()

    def results(
        self, results: Sequence[BenchmarkResult], folder: Path, *, metric: str, numbers: Mapping[str, float | int]
    ) -> None:
        """Values, tables, figures and the whole report as rows of history, unless they are there already."""
        run, ledger = self._opened()
        content = artifact_key([result.to_dict() for result in results], metric, dict(numbers))
        if ledger.results == content:
            return
        media: dict[str, Any] = {name: _table(table) for name, table in result_tables(results, metric).items()}
        for path in sorted((folder / "figures").glob("*.svg")):
            media[figure_key(path.stem)] = _page(path)
        media[REPORT] = _page(folder / "report.html")
        rows = [*place_rows(results), {**result_values(results, numbers), **media}]
        first = max(run.step, ledger.step)  # W&B takes no row before one that it has
        for step, row in enumerate(rows, first):
            run.log(row, step=step, commit=True)
        ledger.results, ledger.step = content, first + len(rows)
        self._save()

    def finish(self, *, failed: bool) -> None:
        """Close the W&B run, with exit code 1 if the run failed."""
        run, self._run = self._run, None
        if run is None:
            return
        run.finish(exit_code=1 if failed else 0)
        if self._folders is not None and self._ledger is not None:
            if not self._ledger.whole:
                logger.info("tracking: the earlier offline run is kept, this start logged less")
            self._folders.remove(whole=self._ledger.whole)

    def _save(self) -> None:
        """Save the ledger; once this start is whole, its offline folder replaces the earlier ones."""
        _, ledger = self._opened()
        ledger.save()
        if ledger.whole and self._folders is not None:
            self._folders.replace()

    def _wants_model(self, folder: Path, names: Sequence[str]) -> bool:
        if not self.settings.log_model:
            return False
        size = sum(path.stat().st_size for name in names for path in (folder / name).rglob("*") if path.is_file()) / 1e9
        if size > self.settings.max_model_gb:
            logger.warning(
                "tracking: %s has %.2f GB, above tracking.max_model_gb=%g: it stays in %s alone",
                *(", ".join(names), size, self.settings.max_model_gb, folder),
            )
            return False
        return True

    def _opened(self) -> tuple[wandb.Run, Ledger]:
        if self._run is None or self._ledger is None:
            raise RuntimeError("the tracker was not started, or is finished")
        return self._run, self._ledger


def _table(table: Table) -> wandb.Table:
    headings = table.unit_headings
    columns: list[Any] = [f"{h} ({i})" if h in headings[:i] else h for i, h in enumerate(headings)]  # none twice
    rows: list[Any] = table.in_units()
    return wandb.Table(columns=columns, data=rows)


def _page(path: Path) -> wandb.Html:
    return wandb.Html(path.read_text(encoding="utf-8"), inject=False)
