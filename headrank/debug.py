"""Implement the option `debug`: shrink the chosen experiment so that it runs in seconds, and log its model and data."""

import logging
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Annotated, Any

from headrank.data import DataSettings
from headrank.experiment import Experiment
from headrank.model import BackboneSettings
from headrank.settings import Ge, settings

logger = logging.getLogger("headrank")

NOTICE = "A debug run: a tiny random model and few, short lists. Its numbers do not measure quality."


@settings
class DebugSettings:
    """The limits and replacements of a debug run. A limit does not raise a smaller value of the experiment.

    model: the model that replaces the experiment's.
    layers: the number of layers of that model, and the limit of `reading.max_layer`.
    max_queries, depth: the limits of queries per data set and of candidates per query.
    validation_queries: the limit of the validation queries of alignment.
    baselines: name of a baseline or teacher -> values that replace those of its settings, if it is chosen.
    data, benchmarks: data sets that replace the experiment's; if empty, the experiment's are shrunk.
    """

    model: BackboneSettings
    layers: Annotated[int, Ge(1)]  # layers of the model, and the limit of `reading.max_layer`
    max_queries: Annotated[int, Ge(1)]
    depth: Annotated[int, Ge(1)]
    validation_queries: Annotated[int, Ge(1)]
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data: Mapping[str, DataSettings] = field(default_factory=dict)
    benchmarks: Mapping[str, DataSettings] = field(default_factory=dict)

    def applied(self, experiment: Experiment) -> Experiment:
        """Shrink an experiment. Losses, epochs, scorers and criteria stay unchanged.

        Alignment runs on the CPU in 32 bits with at most two folds, and heads are selected from one context order.

        Raises `SettingsError` if `baselines` has a value that a baseline's settings do not have.
        """
        found = replace(
            experiment,
            model=self.model,
            train=self._shrunk("data", experiment.train, self.data),
            benchmarks=self._shrunk("benchmarks", experiment.benchmarks, self.benchmarks),
            reading=replace(
                experiment.reading,
                seeds=experiment.reading.seeds[:1],
                max_layer=_least(experiment.reading.max_layer, self.layers),
            ),
            teacher={name: self._baseline(name, one) for name, one in experiment.teacher.items()},
            rerankers={name: self._baseline(name, one) for name, one in experiment.rerankers.items()},
            alignment=self._alignment(experiment.alignment),
        )
        logger.info("debug: model %s -> random weights, %d layers", experiment.model.model, self.layers)
        return found

    def _shrunk(
        self, key: str, chosen: tuple[DataSettings, ...], others: Mapping[str, DataSettings]
    ) -> tuple[DataSettings, ...]:
        found = tuple(others.values()) if chosen and others else chosen
        if found is not chosen:
            names = (", ".join(one.name for one in part) for part in (chosen, found))
            logger.info("debug: %s %s -> %s", key, *names)
            labels = next((one.labels for one in chosen if one.label_source.teacher), None)
            found = tuple(replace(one, labels=labels) for one in found)
        logger.info("debug: %s: at most %d queries, %d candidates each", key, self.max_queries, self.depth)
        return tuple(
            replace(
                one,
                max_queries=_least(one.max_queries, self.max_queries),
                depth=min(one.depth, self.depth),
                notice=NOTICE,
            )
            for one in found
        )

    def _baseline(self, name: str, baseline: Any) -> Any:
        values = self.baselines.get(name)
        if not values:
            return baseline
        logger.info("debug: %s: %s replaced", name, ", ".join(values))
        return replace(baseline, **values)

    def _alignment(self, alignment: Any) -> Any:
        if alignment is None:
            return None
        return replace(
            alignment,
            validation_queries=min(alignment.validation_queries, self.validation_queries),
            folds=min(alignment.folds, 2),
            draw_depth=min(alignment.draw_depth, self.depth),
            trainer=replace(alignment.trainer, accelerator="cpu", precision="32-true"),
        )


def _least(value: int | None, limit: int) -> int:
    return limit if value is None else min(value, limit)
