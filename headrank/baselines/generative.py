"""Listwise reranking by generation (RankGPT, Sun et al. 2023, arXiv 2304.09542).

A language model writes the permutation of a window of passages. Windows move from the end of the candidate list to its
start. Unlike HeadRank, this needs a prompt per window and generated tokens, and replies may not be permutations.
Malformed replies are repaired by the published rule and counted (`headrank.baselines.replies`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch

from headrank.baselines.chat import show
from headrank.baselines.generators import BACKENDS, Generator, load_generator
from headrank.baselines.language_model import check_language_model, context_tokens
from headrank.baselines.listwise_prompt import CUTS, ListwisePrompts
from headrank.baselines.protocol import Reranked
from headrank.baselines.replies import Permutation, read_permutation, reply_counts
from headrank.baselines.windows import SlidingWindows
from headrank.model import BackboneSettings, CutCounts, load_tokenizer, model_identity
from headrank.ranking import CandidateList, ContextScores, Ranking
from headrank.settings import Ge, one_of, settings, wrong


@settings
class Generative:
    """The settings of RankGPT's listwise reranker with any chat model; the defaults are the published ones."""

    model: BackboneSettings | None = None  # None: the experiment's model
    window: Annotated[int, Ge(2)] = 20  # passages per window
    step: Annotated[int, Ge(1)] = 10  # passages by which the window moves
    passage_cut: Annotated[str, one_of(CUTS)] = "words"  # words (as RankGPT) | tokens: the unit of passage_limit
    passage_limit: Annotated[int, Ge(1)] | None = 300  # longer passages are truncated; None: no limit
    max_new_tokens: Annotated[int, Ge(1)] | None = None  # per reply; None: the length of a complete answer plus 64
    thinking: bool = False  # for chat templates with a thinking switch
    backend: Annotated[str, one_of(BACKENDS)] = "transformers"  # transformers | vllm (extra `vllm`)
    batch_size: Annotated[int, Ge(1)] = 1  # lists per batch, with transformers

    def __post_init__(self) -> None:
        if self.step > self.window:
            raise wrong("step", self.step, f"at most the window, {self.window}: a larger step skips passages")

    def identity(self, backbone: BackboneSettings) -> Mapping[str, Any]:
        """See `RerankerSettings.identity`. The batch size is left out, because it does not change results."""
        return {"settings": replace(self, model=None, batch_size=1), "model": model_identity(self.model or backbone)}

    def check_model(self, backbone: BackboneSettings) -> None:
        """See `RerankerSettings.check_model`."""
        check_language_model(self.model or backbone)

    def load(self, backbone: BackboneSettings) -> "GenerativeReranker":
        """See `RerankerSettings.load`. Raises `ValueError` if the model has no LM head or no chat template."""
        return GenerativeReranker(load_generator(self.model or backbone, self.backend), self)

    def check(self, backbone: BackboneSettings, lists: Sequence[CandidateList]) -> None:
        """Raise `ValueError` if the prompt of a list's first window does not fit into the model's context.

        No weights are read. See `RerankerSettings` for the arguments.
        """
        model = self.model or backbone
        prompts = self.prompts(load_tokenizer(model), context_tokens(model))
        for item in lists:
            if window := SlidingWindows(len(item), window=self.window, step=self.step).current:
                prompts.build(item, window)

    def show_prompt(self, backbone: BackboneSettings, item: CandidateList) -> str:
        """Return the prompt of the first window, which is at the end of the candidate list, as text.

        Later prompts depend on the replies. A list with fewer than two passages needs no prompt; the text then says so.
        See `RerankerSettings.show_prompt` for the arguments.
        """
        model = self.model or backbone
        tokenizer = load_tokenizer(model)
        window = SlidingWindows(len(item), window=self.window, step=self.step).current
        if not window:
            return "(no prompt: the list has fewer than two passages)"
        return show(tokenizer, self.prompts(tokenizer, context_tokens(model)).build(item, window).pieces)

    def prompts(self, tokenizer: Any, max_tokens: int | None) -> ListwisePrompts:
        """Create the builder of window prompts.

        Args:
            tokenizer: the model's tokenizer.
            max_tokens: the model's context length in tokens; None: no limit is known, so prompts are not shortened.
        """
        return ListwisePrompts(
            tokenizer,
            cut=self.passage_cut,
            limit=self.passage_limit,
            max_tokens=max_tokens,
            max_new_tokens=self.max_new_tokens,
            thinking=self.thinking,
        )


class GenerativeReranker:
    """A loaded generative model that reranks candidate lists.

    Scores are reciprocal ranks, as in RankLLM; only their order is meaningful.

    Args:
        generator: generates the replies.
        settings: the settings of the reranker.
    """

    def __init__(self, generator: Generator, settings: Generative) -> None:
        self.generator = generator
        self.settings = settings
        self.prompts = settings.prompts(generator.tokenizer, generator.max_tokens)

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.generator.device

    def rerank(self, lists: Sequence[CandidateList], on_list: Callable[[], object] | None = None) -> Reranked:
        """See `ListReranker.rerank`.

        Raises `ValueError`, before anything is generated, if the prompt of a list's first window does not fit into the
        model's context.
        """
        s = self.settings
        plans = [SlidingWindows(len(item), window=s.window, step=s.step) for item in lists]
        for item, plan in zip(lists, plans, strict=True):
            if plan.current:
                self.prompts.build(item, plan.current)  # only to check that it fits
        permutations: list[Permutation] = []
        facts = {"tokens": 0, "generated_tokens": 0, "shortened_windows": 0}
        cut: dict[str, set[int]] = {item.query.id: set() for item in lists}  # candidates truncated in any window
        jobs = list(zip(lists, plans, strict=True))
        together = max(1, len(jobs)) if self.generator.schedules else s.batch_size
        for start in range(0, len(jobs), together):
            chunk = jobs[start : start + together]
            while active := [(item, plan) for item, plan in chunk if plan.current]:
                permutations += self._permute(active, facts, cut)
            if on_list is not None:
                for _ in chunk:
                    on_list()
        cuts = CutCounts()
        for item in lists:
            cuts.add(len(item), len(cut[item.query.id]))
        facts |= cuts.facts
        return Reranked(
            rankings=tuple(_ranking(item, plan.order) for item, plan in zip(lists, plans, strict=True)),
            contexts=tuple(ContextScores(item.query.id, item.passage_ids, None) for item in lists),
            facts=facts,
            replies=reply_counts(permutations),
        )

    def _permute(
        self,
        active: Sequence[tuple[CandidateList, SlidingWindows]],
        facts: dict[str, int],
        cut: dict[str, set[int]],
    ) -> list[Permutation]:
        """Permute the current window of each list."""
        prompts = [self.prompts.build(item, plan.current) for item, plan in active]
        replies = self.generator.complete([p.ids for p in prompts], [p.max_new_tokens for p in prompts])
        read = []
        for (item, plan), prompt, reply in zip(active, prompts, replies, strict=True):
            permutation = read_permutation(reply.text, len(plan.current), cut=reply.cut)
            plan.permute(permutation.order)
            read.append(permutation)
            cut[item.query.id].update(prompt.cut)
            facts["tokens"] += len(prompt.ids)
            facts["generated_tokens"] += reply.tokens
            facts["shortened_windows"] += prompt.limit != self.settings.passage_limit
        return read


def _ranking(item: CandidateList, order: Sequence[int]) -> Ranking:
    ids = [item.passages[position].id for position in order]
    return Ranking.from_scores(item.query.id, ids, [1 / rank for rank in range(1, len(ids) + 1)])
