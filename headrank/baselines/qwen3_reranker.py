"""Qwen3-Reranker (Zhang et al. 2025, arXiv 2506.05176): a language model judges whether a passage answers a query.

The score of a passage is the probability of `yes` against `no` as the next token of its prompt. Prompts and scores are
those of the model card's transformers example (Qwen/Qwen3-Reranker-0.6B).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from headrank.baselines.chat import Piece, join, show
from headrank.baselines.language_model import LanguageModel, check_language_model, context_tokens, load_language_model
from headrank.baselines.protocol import Reranked
from headrank.model import BackboneSettings, CutCounts, load_tokenizer, model_identity, plain_text_tokenizer
from headrank.model.plain_text import encode_first
from headrank.ranking import CandidateList, Ranking
from headrank.settings import Ge, settings
from headrank.surrogates import encodable

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
BODY = "<Instruct>: {instruction}\n<Query>: {query}\n<Document>:"
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
MODEL = "Qwen/Qwen3-Reranker-0.6B"


@settings
class Qwen3Reranker:
    """The settings of a Qwen3-Reranker of any size; the defaults are the model card's."""

    # None: the experiment's model
    model: BackboneSettings | None = field(default_factory=lambda: BackboneSettings(MODEL))
    instruction: str = INSTRUCTION
    max_length: Annotated[int, Ge(1)] = 8192  # tokens of a prompt; only passages are truncated
    batch_size: Annotated[int, Ge(1)] = 8  # passages of a list per forward pass

    def identity(self, backbone: BackboneSettings) -> Mapping[str, Any]:
        """See `RerankerSettings.identity`."""
        return {"settings": replace(self, model=None, batch_size=1), "model": model_identity(self.model or backbone)}

    def check_model(self, backbone: BackboneSettings) -> None:
        """See `RerankerSettings.check_model`."""
        check_language_model(self.model or backbone)

    def load(self, backbone: BackboneSettings) -> "YesNoReranker":
        """See `RerankerSettings.load`. Raises `ValueError` if `yes` or `no` is not a single token."""
        return YesNoReranker(load_language_model(self.model or backbone), self)

    def check(self, backbone: BackboneSettings, lists: Sequence[CandidateList]) -> None:
        """Raise `ValueError` if a query is so long that its prompt has no room for a passage. No weights are read.

        See `RerankerSettings` for the arguments.
        """
        prompts = self._prompts(backbone, load_tokenizer(self.model or backbone))
        for item in lists:
            prompts.room(item)

    def show_prompt(self, backbone: BackboneSettings, item: CandidateList) -> str:
        """Return the prompt of the first passage as text. See `RerankerSettings.show_prompt`.

        The model reads each passage in a separate prompt.
        """
        if not len(item):
            return "(no prompt: the list has no passages)"
        tokenizer = load_tokenizer(self.model or backbone)
        return show(tokenizer, self._prompts(backbone, tokenizer).build(item.top(1))[0])

    def _prompts(self, backbone: BackboneSettings, tokenizer: PreTrainedTokenizerBase) -> "PairPrompts":
        most = min(self.max_length, context_tokens(self.model or backbone) or self.max_length)
        return PairPrompts(tokenizer, self.instruction, most)


class PairPrompts:
    """Builds the prompt of a query and a passage.

    The parts of the model card's prompt around them are encoded with special tokens; query and passage are plain text.

    Args:
        tokenizer: the model's tokenizer.
        instruction: the task in the prompt.
        max_length: the token limit of a prompt. Only passages are truncated.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, instruction: str, max_length: int) -> None:
        self._plain = plain_text_tokenizer(tokenizer)  # pyright: ignore[reportArgumentType]
        self._prefix, self._suffix = (
            Piece(tuple(tokenizer(text, add_special_tokens=False)["input_ids"]), plain=False)
            for text in (PREFIX, SUFFIX)
        )
        self.instruction = instruction
        self.max_length = max_length

    def room(self, item: CandidateList) -> int:
        """Return the token limit of a passage: `max_length` minus the other tokens of the candidate list's prompts.

        Raises `ValueError` if it would be 0, because queries are never truncated.
        """
        used = len(self._prefix.ids) + len(self._suffix.ids) + len(self._body(item))
        if used >= self.max_length:
            raise ValueError(
                f"query {item.query.id!r}: the prompt without a passage has {used} tokens; expected fewer than "
                f"{self.max_length}, the longest prompt"
            )
        return self.max_length - used

    def build(self, item: CandidateList) -> list[tuple[Piece, ...]]:
        """Return the prompt of each passage of a candidate list, in first-stage order.

        Raises the error of `room`.
        """
        room, body = self.room(item), self._body(item)
        return [
            (self._prefix, Piece((*body, *ids[:room]), plain=True), self._suffix) for ids in self._passages(item, room)
        ]

    def cut_passages(self, item: CandidateList) -> int:
        """Return the number of passages of a candidate list that are truncated in its prompts."""
        room = self.room(item)
        return sum(len(ids) > room for ids in self._passages(item, room))

    def _passages(self, item: CandidateList, room: int) -> list[list[int]]:
        """The first `room + 1` token ids of each passage."""
        return encode_first(self._plain, [f" {encodable(passage.text).strip()}" for passage in item.passages], room)

    def _body(self, item: CandidateList) -> list[int]:
        body = BODY.format(instruction=self.instruction, query=encodable(item.query.text).strip())
        return self._plain.encode(body, add_special_tokens=False).ids


class YesNoReranker:
    """A Qwen3-Reranker in memory, which reranks candidate lists. Prompts are left-padded and batched.

    Args:
        loaded: the language model.
        settings: the settings of the reranker.

    Raises `ValueError` if `yes` or `no` is not a single token of the model.
    """

    def __init__(self, loaded: LanguageModel, settings: Qwen3Reranker) -> None:
        self.model, self.device = loaded.model, loaded.device
        self.settings = settings
        most = min(settings.max_length, loaded.max_tokens or settings.max_length)
        self.prompts = PairPrompts(loaded.tokenizer, settings.instruction, most)
        pad = loaded.tokenizer.pad_token_id
        self._pad = pad if isinstance(pad, int) else 0
        self._yes, self._no = (_single_token(loaded.tokenizer, word) for word in ("yes", "no"))

    def rerank(self, lists: Sequence[CandidateList], on_list: Callable[[], object] | None = None) -> Reranked:
        """See `ListReranker.rerank`.

        Raises `ValueError`, before anything is scored, if a query is so long that its prompt has no room for a passage.
        """
        for item in lists:
            self.prompts.room(item)
        rankings, tokens, cuts = [], 0, CutCounts()
        for item in lists:
            prompts = [join(pieces) for pieces in self.prompts.build(item)] if len(item) else []
            rankings.append(Ranking.from_scores(item.query.id, item.passage_ids, self.score(prompts)))
            tokens += sum(map(len, prompts))
            cuts.add(len(item), self.prompts.cut_passages(item))
            if on_list is not None:
                on_list()
        return Reranked(tuple(rankings), facts={"tokens": tokens, **cuts.facts})

    def score(self, prompts: Sequence[Sequence[int]]) -> list[float]:
        """Return the probability of `yes` against `no` as the next token of each prompt, in [0, 1].

        prompts: the token ids of each prompt.
        """
        scores = [0.0] * len(prompts)
        longest_first = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        for start in range(0, len(prompts), self.settings.batch_size):
            batch = longest_first[start : start + self.settings.batch_size]
            for i, margin in zip(batch, self._margins([prompts[i] for i in batch]).tolist(), strict=True):
                scores[i] = probability(margin)
        return scores

    def _margins(self, batch: Sequence[Sequence[int]]) -> Float[Tensor, " prompts"]:
        """logit(yes) - logit(no) of the next token of each prompt."""
        longest = max(map(len, batch))
        ids = torch.tensor([[self._pad] * (longest - len(prompt)) + list(prompt) for prompt in batch])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in batch])
        positions = (mask.cumsum(1) - 1).clamp(min=0)  # counted from the first token after the padding
        with torch.inference_mode():
            logits = self.model(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                position_ids=positions.to(self.device),
                use_cache=False,
                logits_to_keep=1,
            ).logits[:, -1]
        pair = logits[:, [self._yes, self._no]].double()
        return (pair[:, 0] - pair[:, 1]).cpu()


def probability(margin: float) -> float:
    """Return the probability of `yes` against `no`: the sigmoid of the margin.

    It is computed in double precision, because in single precision all margins above 17 would be tied at 1.

    margin: the logit of `yes` minus the logit of `no`.
    """
    if margin < 0:
        odds = math.exp(margin)
        return odds / (1 + odds)
    return 1 / (1 + math.exp(-margin))


def _single_token(tokenizer: PreTrainedTokenizerBase, word: str) -> int:
    ids = tokenizer(word, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise ValueError(f"{word!r} is {len(ids)} tokens of this model; expected a single token, as in Qwen3-Reranker")
    return ids[0]
