"""What a system without attention heads has to offer to take part in an experiment.

Settings are plain data that `conf/baselines/*.yaml` or a user's own code makes; they name a model, or leave it to the
experiment's own. The pipeline asks them for a key, loads them once, and lets them rerank every benchmark's lists.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch

from headrank.model import BackboneSettings
from headrank.ranking import CandidateList, ContextScores, Ranking


@dataclass(frozen=True, slots=True)
class Reranked:
    """The output for candidate lists.

    rankings: one per list, in the order of the lists.
    contexts: the lists in the order in which passages were read together, with no scores where the system only ranks;
        empty for a system that reads each passage alone.
    facts: plain numbers that are the same at every run, such as `tokens` read.
    replies: counts of what was generated (`headrank.baselines.replies.reply_counts`); empty where nothing is.
    """

    rankings: tuple[Ranking, ...]
    contexts: tuple[ContextScores, ...] = ()
    facts: Mapping[str, int] = field(default_factory=dict)
    replies: Mapping[str, int] = field(default_factory=dict)


@runtime_checkable
class ListReranker(Protocol):
    """A loaded system."""

    @property
    def device(self) -> torch.device:
        """Where its model lies."""
        ...

    def rerank(self, lists: Sequence[CandidateList], on_list: Callable[[], object] | None = None) -> Reranked:
        """Rerank each list; ties keep the first stage's order. `on_list` is called after each list (a progress bar).

        A list without candidates gives an empty ranking.
        """
        ...


@runtime_checkable
class RerankerSettings(Protocol):
    """A system of an experiment that has no heads. `own` is the experiment's model, for settings that name none.

    Two optional methods run before any model is loaded and read no weights. `check_model(own)` runs first and raises
    `ModelError` for a model that the system cannot use. `check(own, lists)` is called with each benchmark's lists and
    raises `ValueError` for a list that the system cannot read.
    """

    def identity(self, own: BackboneSettings) -> Mapping[str, Any]:
        """All that its rankings depend on, as plain values and dataclasses: part of the key of its runs."""
        ...

    def load(self, own: BackboneSettings) -> ListReranker:
        """The system, ready to rerank."""
        ...

    def show_prompt(self, own: BackboneSettings, item: CandidateList) -> str:
        """The first prompt of a list exactly as the model reads it, special tokens included. No weights are read."""
        ...
