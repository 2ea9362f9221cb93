"""The definition of an experiment as plain data: model, labelled lists, systems, benchmarks.

`configuration.py` builds it from the Hydra configuration; the stages do not depend on Hydra.
"""

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from headrank.baselines import RerankerSettings
from headrank.data import DataSettings
from headrank.evaluation import ReportSettings
from headrank.evaluation.measures.metrics import Metric
from headrank.evaluation.measures.results import FIRST_STAGE_SYSTEM, MAIN_SYSTEM, UNALIGNED_SYSTEM
from headrank.heads import Criterion, EntropyRegularized
from headrank.model import BackboneSettings, PromptSettings, ScorerSettings, StateSettings
from headrank.model.fusion import AUTO
from headrank.settings import Ge, Listed, meant, one_of, settings, wrong

TEACHER_SYSTEM = "teacher"  # the name of the teacher's runs


def known_metric(name: str) -> str:
    """Return the name of a metric unchanged. Raise `ValueError` for an unknown measure or a cutoff below 1."""
    Metric.parse(name)
    return name


def _auto_or_none(value: Any) -> Any:
    if value not in ("auto", None):
        raise wrong("", value, "auto or null (a weight is the criterion's: selection.criterion.weight)")
    return value


@settings
class SystemSettings:
    """A system that reranks with attention heads: the criterion that selects them, their number, scorer and prompt.

    In `Experiment.systems` one system is the main system; the others are baselines.
    """

    criterion: Criterion
    heads: Annotated[int, Ge(1)] | None = None  # the number of heads; None: the number of the criterion's authors
    # "auto": chosen by cross-validation over the labelled queries
    entropy_weight: Annotated[str | None, BeforeValidator(_auto_or_none)] = None
    scorer: ScorerSettings = field(default_factory=ScorerSettings)
    prompt: PromptSettings = field(default_factory=PromptSettings)
    instructions: Mapping[str, str] = field(default_factory=dict)  # benchmark -> instruction that replaces the prompt's

    @property
    def uses_labels(self) -> bool:
        """Whether labelled lists choose the heads or the fusion weight."""
        return self.criterion.needs_labels or self.scorer.fusion == AUTO

    def __post_init__(self) -> None:
        if self.entropy_weight is not None and not isinstance(self.criterion, EntropyRegularized):
            raise wrong("entropy_weight", self.entropy_weight, "null: only entropy_regularized has such a weight")


@settings
class OrderTeacher:
    """The teacher `orders` [ours]: the start model with the selected heads, averaged over shuffled context orders."""

    shuffles: Annotated[int, Ge(2)] = 8  # number of context orders
    seed: int = 0  # of the first order; the next ones have the following seeds


@settings
class ReadingSettings:
    """How the model reads labelled lists for head selection."""

    seeds: Listed[int] = (0, 1, 2)  # one shuffled context order per seed, averaged
    max_layer: Annotated[int, Ge(1)] | None = None  # heads of the first max_layer layers compete; None: of all
    batch_size: Annotated[int, Ge(1)] = 64  # lists per forward pass, at most
    tokens_per_batch: Annotated[int, Ge(1)] = 16384  # tokens per forward pass, at most; a longer list goes alone

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise wrong("seeds", list(self.seeds), "at least one seed, without repetition")


@settings
class Experiment:
    """All settings of a run."""

    name: str
    folder: Path  # the run folder
    cache: Path  # BM25 indexes, head tables, runs of untrained systems
    model: BackboneSettings
    train: tuple[DataSettings, ...]  # the labelled lists that choose and align the heads
    benchmarks: tuple[DataSettings, ...]
    systems: Mapping[str, SystemSettings]  # name -> system; holds MAIN_SYSTEM
    rerankers: Mapping[str, RerankerSettings] = field(default_factory=dict)  # systems with code instead of heads
    # the system that labels training sets with labels `teacher`: name -> settings, at most one
    teacher: Mapping[str, RerankerSettings | OrderTeacher] = field(default_factory=dict)
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    states: StateSettings | None = None  # the store of passage states, for prompts in blocks
    alignment: Any = None  # a headrank.alignment.settings.AlignmentSettings (extra `train`), or None: no training
    metrics: Listed[Annotated[str, AfterValidator(known_metric)]] = (
        "ndcg@10",
        "mrr@10",
        "map@100",
        "recall@100",
        "judged@10",
    )
    objective: str = "ndcg@10"  # the metric that a run returns and reports first
    # its mean over them | validation: alignment's best nDCG@10 on held-out queries or over folds
    objective_from: Annotated[str, one_of(("benchmarks", "validation"))] = "benchmarks"
    report: ReportSettings = field(default_factory=ReportSettings)
    config: Mapping[str, Any] = field(default_factory=dict)  # the composed configuration, resolved: never written
    config_yaml: str = ""  # the same as YAML to write, with `${oc.env:...}` unresolved

    def __post_init__(self) -> None:
        if MAIN_SYSTEM not in self.systems:
            raise wrong("systems", list(self.systems), f"systems with {MAIN_SYSTEM!r} among them")
        others = {*self.systems, *self.rerankers}
        for name in set(self.systems) & set(self.rerankers):
            raise wrong("rerankers", name, "a name that no other system has")
        taken = {FIRST_STAGE_SYSTEM} | ({UNALIGNED_SYSTEM} if self.alignment is not None else set())
        if self.teacher and TEACHER_SYSTEM in others:
            raise wrong("systems", TEACHER_SYSTEM, "another name, since the teacher's runs have this one")
        for name in others & taken:
            raise wrong("systems", name, "another name, since this one is reserved")
        for key, parts in (("benchmarks", self.benchmarks), ("data", self.train)):
            names = [part.name for part in parts]
            if len(set(names)) != len(names):
                raise wrong(key, names, "another name for each")
        for part in self.benchmarks:
            if part.lists_per_epoch:
                raise wrong(f"benchmarks.{part.name}.lists_per_epoch", part.lists_per_epoch, "null: data sets use it")
            if part.labels is not None:
                raise wrong(f"benchmarks.{part.name}.labels", part.labels, "null: only training sets have soft labels")
        if not self.benchmarks:
            raise wrong("benchmarks", [], "at least one benchmark")
        if not self.metrics:
            raise wrong("metrics", [], "at least one metric, such as ndcg@10")
        if len(set(self.metrics)) != len(self.metrics):
            raise wrong("metrics", list(self.metrics), "each metric once")
        if self.objective not in self.metrics:
            raise wrong("objective", self.objective, f"one of the metrics {', '.join(self.metrics)}")
        a = self.alignment
        if self.objective_from == "validation" and (a is None or not (a.validation_queries or a.folds)):
            expected = "benchmarks, or alignment with validation_queries or folds above 0"
            raise wrong("objective_from", "validation", expected)
        measured = others | taken
        if self.report.baseline is not None and self.report.baseline not in measured:
            known = f"{', '.join(sorted(measured))}{meant(self.report.baseline, measured)}"
            raise wrong("report.baseline", self.report.baseline, f"one of {known}")
        if self.states is not None and not any(system.prompt.in_blocks for system in self.systems.values()):
            raise wrong("states.folder", self.states.folder, "null, or prompt=blocks: no system's prompt is in blocks")
        self._check_teacher()
        if self.alignment is not None and self.alignment.losses.needs_targets and not any(x.labels for x in self.train):
            losses = list(self.alignment.losses.terms)
            raise wrong("loss", losses, "losses of grades, or data.NAME.labels: no training set has a teacher")
        if not self.train and self.alignment is not None:
            raise wrong("data", [], "labelled lists, which alignment needs")
        for name, system in self.systems.items():
            if not self.train and system.criterion.needs_labels:
                raise wrong("data", [], f"labelled lists: the criterion {system.criterion.name} of {name} needs them")
            if system.scorer.fusion == AUTO and (not self.train or system.scorer.token_filter):
                expected = "a number: auto needs labelled lists (data) and a scorer without token_filter"
                raise wrong("scorer.fusion", AUTO, f"{expected} (system {name})")

    @property
    def keyed_rerankers(self) -> tuple[tuple[str, RerankerSettings], ...]:
        """The rerankers that do not read heads, baselines and teacher, with their configuration keys."""
        found = [(f"baselines.{name}", one) for name, one in self.rerankers.items()]
        teachers = [(f"teacher.{name}", one) for name, one in self.teacher.items() if not isinstance(one, OrderTeacher)]
        return (*found, *teachers)

    @property
    def teacher_needs_heads(self) -> bool:
        """Whether heads must be selected before the teacher runs."""
        return any(isinstance(one, OrderTeacher) for one in self.teacher.values())

    def _check_teacher(self) -> None:
        names, taught = list(self.teacher), [one for one in self.train if one.label_source.teacher]
        if len(names) > 1:
            raise wrong("teacher", names, "one teacher, or none")
        if taught and not names:
            expected = "a run, or a teacher: teacher=orders, cross_encoder or qwen3_reranker"
            raise wrong(f"data.{taught[0].name}.labels", taught[0].labels, expected)
        if names and not taught:
            raise wrong("teacher", names[0], "none, or a training set with labels teacher or judged+teacher")
        if not self.teacher_needs_heads:
            return
        if self.alignment is None:
            raise wrong("teacher", names[0], "another teacher, or alignment: this one runs after heads are selected")
        if self.systems[MAIN_SYSTEM].prompt.in_blocks:
            raise wrong("teacher", names[0], "another teacher, or another prompt: in blocks, the order has no effect")
        judged = any(one.label_source.judged or one.label_source.run for one in self.train)
        if not judged and any(system.criterion.needs_labels for system in self.systems.values()):
            expected = (
                "another teacher, a training set with judgements, or selection=given: heads are selected before it"
            )
            raise wrong("teacher", names[0], expected)
