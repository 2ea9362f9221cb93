"""The interface of a reranker that does not read attention heads, so that it can take part in an experiment.

Its settings are plain data, made by `conf/baselines/*.yaml` or by a user's code. They name a model, or the experiment's
model is used. The pipeline computes artifact keys from the settings, loads the reranker once, and reranks the candidate
lists of every benchmark.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch

from headrank.model import BackboneSettings
from headrank.ranking import CandidateList, ContextScores, Ranking


@dataclass(frozen=True, slots=True)
class Reranked:
    """The output of a reranker for several candidate lists.

    rankings: one ranking per candidate list, in the order of the lists.
    contexts: for each candidate list, the passages in context order; their scores are None if the reranker only ranks.
        Empty for a reranker that scores each passage separately.
    facts: deterministic counts by name, such as `tokens`, the number of tokens read.
    replies: counts of generated replies by kind (`headrank.baselines.replies.reply_counts`); empty if the reranker does
        not generate.
    """

    rankings: tuple[Ranking, ...]
    contexts: tuple[ContextScores, ...] = ()
    facts: Mapping[str, int] = field(default_factory=dict)
    replies: Mapping[str, int] = field(default_factory=dict)


@runtime_checkable
class ListReranker(Protocol):
    """The interface of a loaded reranker."""

    @property
    def device(self) -> torch.device:
        """The device of the reranker's model."""
        ...

    def rerank(self, lists: Sequence[CandidateList], on_list: Callable[[], object] | None = None) -> Reranked:
        """Rerank each candidate list. Ties keep the first-stage order; an empty list gives an empty ranking.

        Args:
            lists: the candidate lists.
            on_list: called after each list, for instance to advance a progress bar; None: nothing is called.
        """
        ...


@runtime_checkable
class RerankerSettings(Protocol):
    """The interface of the settings of a reranker that does not read heads.

    The argument `backbone` of the methods is the experiment's model. It is used if the settings name no model.

    Two optional methods run before any model is loaded, and read no weights. `check_model(backbone)` raises
    `ModelError` for a model that the reranker cannot use. `check(backbone, lists)` is called with the lists of each
    benchmark and raises `ValueError` for a list that the reranker cannot read.
    """

    def identity(self, backbone: BackboneSettings) -> Mapping[str, Any]:
        """Return everything that the rankings depend on, as plain values and dataclasses.

        It is part of the artifact keys of the reranker's runs.
        """
        ...

    def load(self, backbone: BackboneSettings) -> ListReranker:
        """Load the model and return the reranker."""
        ...

    def show_prompt(self, backbone: BackboneSettings, item: CandidateList) -> str:
        """Return the first prompt of a candidate list exactly as the model reads it, with special tokens.

        No weights are read.

        Args:
            backbone: the experiment's model.
            item: the candidate list.
        """
        ...
