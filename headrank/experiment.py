"""What an experiment is, in plain data: which model, which labelled lists, which systems, which benchmarks.

`run.py` makes one of these from the Hydra configuration; the stages know nothing of Hydra.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrank.baselines import RerankerSettings
from headrank.data import DataSettings
from headrank.evaluation import ReportSettings
from headrank.heads import Criterion
from headrank.model import BackboneSettings, PromptSettings, ScorerSettings, StateSettings
from headrank.names import FIRST_STAGE_SYSTEM, MAIN_SYSTEM, UNALIGNED_SYSTEM


@dataclass(frozen=True, slots=True)
class SystemSettings:
    """A way to rerank: a head criterion, how many heads, and a scorer. The first system of an experiment is its own,
    the others are what it is compared with."""

    criterion: Criterion
    heads: int | None = None  # how many; None: as many as the criterion's authors take
    entropy_weight: str | None = None  # "auto": chosen by cross-validation over the labelled queries
    scorer: ScorerSettings = field(default_factory=ScorerSettings)
    prompt: PromptSettings = field(default_factory=PromptSettings)
    instructions: Mapping[str, str] = field(default_factory=dict)  # benchmark -> its own, in place of the prompt's


@dataclass(frozen=True, slots=True)
class SelectionSettings:
    """How labelled lists are read for head selection."""

    seeds: Sequence[int] = (0, 1, 2)  # one shuffled context order each, averaged
    max_layer: int | None = None  # heads of the first max_layer layers compete; None: of all
    batch_size: int = 64  # lists per forward pass, at most
    tokens_per_batch: int = 16384  # tokens per forward pass, at most; a longer list goes alone

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"reading.seeds is {list(self.seeds)}, wanted at least one and none twice")
        if self.max_layer is not None and self.max_layer < 1:
            raise ValueError(f"reading.max_layer is {self.max_layer}, wanted at least 1 or null")
        for name in ("batch_size", "tokens_per_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"reading.{name} is {getattr(self, name)}, wanted at least 1")


@dataclass(frozen=True, slots=True)
class Experiment:
    """Everything a run does."""

    name: str
    folder: Path  # where its artifacts go
    cache: Path  # where BM25 indexes and head tables are kept between runs
    model: BackboneSettings
    train: tuple[DataSettings, ...]  # the labelled lists that choose and align the heads
    benchmarks: tuple[DataSettings, ...]
    systems: Mapping[str, SystemSettings]  # name -> system; holds MAIN_SYSTEM
    rerankers: Mapping[str, RerankerSettings] = field(default_factory=dict)  # systems with code instead of heads
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    states: StateSettings | None = None  # where states of passages are kept for reranking, with prompts in blocks
    shared_runs: Path | None = None  # a folder of runs that several jobs have in common; None: each makes its own
    alignment: Any = None  # a headrank.alignment.settings.AlignmentSettings (extra `train`), or None: no training
    metrics: tuple[str, ...] = ("ndcg@10", "mrr@10", "map@100", "recall@100", "judged@10")
    objective: str = "ndcg@10"  # the metric that a run returns and reports first
    objective_from: str = "benchmarks"  # its mean over them | validation: alignment's best nDCG@10 on held-out queries
    report: ReportSettings = field(default_factory=ReportSettings)
    config_yaml: str = ""  # the composed configuration, for the record

    def __post_init__(self) -> None:
        if MAIN_SYSTEM not in self.systems:
            raise ValueError(f"an experiment's systems must hold {MAIN_SYSTEM!r}, these are {', '.join(self.systems)}")
        twice = set(self.systems) & set(self.rerankers)
        if twice:
            raise ValueError(f"names of systems and rerankers must differ, both hold {', '.join(sorted(twice))}")
        if FIRST_STAGE_SYSTEM in {*self.systems, *self.rerankers}:
            raise ValueError(f"the name {FIRST_STAGE_SYSTEM!r} is taken by the first stage itself")
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) != len(names):
            raise ValueError(f"benchmark names must differ, these are {', '.join(names)}")
        if not names:
            raise ValueError("an experiment needs at least one benchmark")
        if self.objective not in self.metrics:
            raise ValueError(f"objective {self.objective!r} is not among the metrics {', '.join(self.metrics)}")
        if self.objective_from not in ("benchmarks", "validation"):
            raise ValueError(f"objective_from is {self.objective_from!r}, wanted benchmarks or validation")
        if self.objective_from == "validation" and not getattr(self.alignment, "validation_queries", 0):
            raise ValueError("objective_from validation needs an alignment with validation_queries above 0")
        measured = {*self.systems, *self.rerankers, FIRST_STAGE_SYSTEM}
        measured |= {UNALIGNED_SYSTEM} if self.alignment is not None else set()
        if self.report.baseline is not None and self.report.baseline not in measured:
            known = ", ".join(sorted(measured))
            raise ValueError(f"report.baseline is {self.report.baseline!r}, wanted one of {known}")
        names = [data.name for data in self.train]
        if len(set(names)) != len(names):
            raise ValueError(f"data names must differ, these are {', '.join(names)}")
        if self.states is not None and not any(system.prompt.in_blocks for system in self.systems.values()):
            raise ValueError("states.folder is given, and no system's prompt is in blocks: give prompt=blocks")
        if self.alignment is not None:
            if not self.train:
                raise ValueError("alignment needs labelled lists, and data names none")
            if UNALIGNED_SYSTEM in {*self.systems, *self.rerankers}:
                raise ValueError(f"the name {UNALIGNED_SYSTEM!r} is taken by the system before alignment")
        if not self.train and any(system.criterion.needs_labels for system in self.systems.values()):
            raise ValueError("a criterion that needs labelled lists is used, and data names none")
