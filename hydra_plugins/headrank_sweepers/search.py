"""A search with Optuna over swept keys. The sweep's folder holds `trials.log` (Optuna's journal) and `best.yaml`.

    python -m headrank.run +sweep=tune_alignment +experiment=qwen3_4b

It uses Optuna's ask-and-tell interface and journal storage. It replaces `hydra-optuna-sweeper` 1.3.0, which requires
Optuna below 3.0. That Optuna's database storage fails with SQLAlchemy 2, and a search in memory cannot be resumed.
"""

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import OmegaConf

from headrank.errors import ConfigError
from headrank.extras import check_extras, require_extra
from hydra_plugins.headrank_sweepers.jobs import Job, JobSweeper, check_failures, print_line

if TYPE_CHECKING:  # Optuna takes a second to import, and Hydra imports this module at each start
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

DIGITS = 4  # significant digits of suggested values: keeps folder names readable, and no optimum is that sharp


class OptunaSweeper(JobSweeper):
    """Searches the values of swept keys that maximise the return value of runs, with Optuna's TPE.

    The keys `objective` and `objective_from` of the configuration choose what a run returns. Trials that failed or were
    stopped run again at the next start, in the same folders. A changed search space or configuration starts a new
    search. Do not start a search twice at the same time.

    trials: the total number of trials, including those of earlier starts of the search.
    parallel: the number of trials launched at once.
    seed: the sampler's seed.
    params: key -> `choice(...)`, `range(...)` or `interval(...)`; `tag(log, ...)` for a logarithmic scale. Values and
        sweeps on the command line override them.
    deleted: keys to delete from each job's configuration, as `~key` does.

    Raises `ConfigError` if `trials` or `parallel` is below 1.
    """

    def __init__(
        self,
        trials: int,
        parallel: int,
        seed: int,
        params: Mapping[str, str] | None = None,
        deleted: Sequence[str] = (),
    ) -> None:
        if trials < 1 or parallel < 1:
            raise ConfigError(f"hydra.sweeper.trials is {trials}, parallel is {parallel}, expected at least 1 for both")
        self.trials, self.parallel, self.seed = trials, parallel, seed
        self.params, self.deleted = dict(params or {}), list(deleted)

    def sweep(self, arguments: list[str]) -> None:
        """Run the missing trials, and write `best.yaml` after each batch.

        Raises `HydraException` without swept keys, `MissingExtraError` without Optuna, and `JobsFailed` after the last
        trial if some failed.
        """
        require_extra("sweep", "hydra/sweeper=optuna", "optuna")
        arranged = self.arranged(arguments, self.params)
        space = {_key(o): distribution(o) for o in arranged if o.is_sweep_override()}
        fixed = [_spelled_override(o) for o in arranged if not o.is_sweep_override()]
        if not space:
            raise HydraException(
                "expected swept keys for the search, found none: set hydra.sweeper.params or override key=interval(0,1)"
            )
        check_extras(self.job(fixed).config)
        around = f"{self.job(fixed).content}{sorted(map(str, space.items()))}"
        study = self._study(space, name=hashlib.sha256(around.encode()).hexdigest())
        done = len(_completed(study))
        print_line(f"search: {done} of {self.trials} trials exist in {self.folder}")
        jobs: list[Job] = []
        results: list[Any] = []
        while len(jobs) < self.trials - done:
            asked = [study.ask(space) for _ in range(min(self.parallel, self.trials - done - len(jobs)))]
            batch = [self.job([*fixed, *_spelled(trial.params)], space.keys()) for trial in asked]
            distinct = {job.folder: job for job in batch}  # parallel trials may have the same values
            returned = dict(zip(distinct, self.launch(list(distinct.values()), asked[0].number), strict=True))
            for trial, job in zip(asked, batch, strict=True):
                _tell(study, trial, returned[job.folder])
            jobs, results = [*jobs, *batch], [*results, *(returned[job.folder] for job in batch)]
            self._write_best(study)
        check_failures(jobs, results)

    def _study(self, space: Mapping[str, "BaseDistribution"], *, name: str) -> "Study":
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(self.folder / "trials.log")))
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        trials = study.get_trials(deepcopy=False)
        # a new seed at each start, which otherwise would repeat the first random suggestions
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(trials), constant_liar=self.parallel > 1)
        state = optuna.trial.TrialState
        known = [_spelled(trial.params) for trial in trials if trial.state == state.COMPLETE]
        known += [_spelled(trial.system_attrs["fixed_params"]) for trial in trials if trial.state == state.WAITING]
        for trial in trials:
            if trial.state == state.RUNNING:  # from a start that was stopped
                study.tell(trial.number, state=state.FAIL)
            unfinished = trial.state in (state.RUNNING, state.FAIL) and trial.params.keys() == space.keys()
            if unfinished and _spelled(trial.params) not in known:
                known.append(_spelled(trial.params))
                study.enqueue_trial(trial.params)
        return study

    def _write_best(self, study: "Study") -> None:
        if not _completed(study):
            return
        best = study.best_trial
        overrides = _spelled(best.params)
        content = {"value": best.value, "trial": best.number, "overrides": overrides}
        OmegaConf.save(OmegaConf.create(content), self.folder / "best.yaml")
        print_line(
            f"search: best of {len(_completed(study))} is {best.value:.4f}, trial {best.number}: {' '.join(overrides)}"
        )


def distribution(override: Override) -> "BaseDistribution":
    """Return Optuna's distribution for the values of a swept override.

    Raises `HydraException` unless it is a choice, an ascending range of integers, or an interval with both ends.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep = override.value()
    if isinstance(sweep, ChoiceSweep):
        return CategoricalDistribution(tuple(override.sweep_string_iterator()))
    if isinstance(sweep, RangeSweep) and isinstance(sweep.start, int) and isinstance(sweep.stop, int):
        last = max(sweep.range(), default=None)
        if last is not None and isinstance(sweep.step, int) and sweep.step > 0:
            return IntDistribution(sweep.start, last, step=sweep.step)
    if isinstance(sweep, IntervalSweep) and sweep.start is not None and sweep.end is not None:
        log = "log" in sweep.tags
        if isinstance(sweep.start, int) and isinstance(sweep.end, int):  # int(interval(...))
            return IntDistribution(sweep.start, sweep.end, log=log)
        return FloatDistribution(float(sweep.start), float(sweep.end), log=log)
    raise HydraException(
        f"{override.input_line}: expected choice(...), an ascending range(...) of integers, or interval(...)"
    )


def _key(override: Override) -> str:
    return override.get_key_element()


def _spelled_override(override: Override) -> str:
    value = override.get_value_element_as_str()
    return _key(override) if override.is_delete() and not value else f"{_key(override)}={value}"


def _completed(study: "Study") -> list[Any]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _spelled(params: Mapping[str, Any]) -> list[str]:
    """The overrides of a trial's values, with rounded numbers."""
    return [f"{key}={float(f'{v:.{DIGITS}g}') if isinstance(v, float) else v}" for key, v in params.items()]


def _tell(study: "Study", trial: "Trial", value: Any) -> None:
    from optuna.trial import TrialState

    if isinstance(value, int | float) and math.isfinite(value):
        study.tell(trial, float(value))
    else:  # an exception, or not a finite number
        study.tell(trial, state=TrialState.FAIL)
