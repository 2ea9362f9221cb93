"""RankGPT's listwise prompt: a chat in which every passage is a message that the assistant confirms.

The wording is that of `create_permutation_instruction` in RankGPT's code (Sun et al. 2023, arXiv 2304.09542,
appendix A).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from headrank.baselines.chat import ChatEncoder, Message, Piece, join
from headrank.ranking import CandidateList

SYSTEM = "You are RankGPT, an intelligent assistant that can rank passages based on their relevancy to the query."
OPENING = (
    "I will provide you with {num} passages, each indicated by number identifier []. \n"
    "Rank the passages based on their relevance to query: {query}."
)
READY = "Okay, please provide the passages."
RECEIVED = "Received passage [{rank}]."
CLOSING = (
    "Search Query: {query}. \n"
    "Rank the {num} passages above based on their relevance to the search query. The passages should be listed in "
    "descending order using identifiers. The most relevant passages should be listed first. The output format should "
    "be [] > [], e.g., [1] > [2]. Only response the ranking results, do not say any word or explain."
)
CUTS = ("words", "tokens")


@dataclass(frozen=True, slots=True)
class WindowPrompt:
    """The prompt of one window of passages.

    pieces: the tokens of the prompt.
    limit: the passage limit that was used, in words or tokens; None: no limit. It is lower than the setting if the
        prompt would otherwise exceed the model's context.
    max_new_tokens: the token limit of the reply.
    cut: the first-stage positions (from 0) of the truncated candidates.
    """

    pieces: tuple[Piece, ...]
    limit: int | None
    max_new_tokens: int
    cut: tuple[int, ...] = ()

    @property
    def ids(self) -> list[int]:
        """The prompt's token ids."""
        return join(self.pieces)


class ListwisePrompts:
    """Builds the prompts of windows.

    Args:
        tokenizer: the tokenizer with its chat template.
        cut: the unit of `limit`, `words` (as in RankGPT) or `tokens`.
        limit: the length to which passages are truncated; None: no limit.
        max_tokens: the model's context length in tokens. If prompt and reply exceed it, the limit is lowered for all
            passages of the window, as in RankGPT, to the largest that fits. None: the limit is never lowered.
        max_new_tokens: the token limit of a reply; None: the length of a complete answer plus 64 (ours).
        thinking: whether thinking is enabled, for chat templates with such a switch.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        cut: str = "words",
        limit: int | None = 300,
        max_tokens: int | None = None,
        max_new_tokens: int | None = None,
        thinking: bool = False,
    ) -> None:
        self.chat = ChatEncoder(tokenizer, thinking=thinking)
        self.cut = cut
        self.limit = limit
        self.max_tokens = max_tokens
        self._max_new_tokens = max_new_tokens
        self._frame = lru_cache(maxsize=None)(self._frame_of)  # one frame per window size
        # Windows overlap, so ids are cached. Tokens of a text beyond the context length are not needed.
        self._text_ids = lru_cache(maxsize=4096)(lambda text: self.chat.texts([text], max_tokens)[0])

    def build(self, item: CandidateList, window: Sequence[int]) -> WindowPrompt:
        """Build the prompt of a window of a candidate list.

        Args:
            item: the candidate list.
            window: the first-stage positions (from 0) of the window's candidates, in prompt order.

        Raises:
            ValueError: the prompt exceeds the model's context even with one word or token per passage.
        """
        new = self.max_new_tokens(len(window))
        room = None if self.max_tokens is None else self.max_tokens - new
        texts = [" ".join(item.passages[i].text.split()) for i in window]
        pieces = self._pieces(item.query.text, texts, self.limit)
        if room is None or _length(pieces) <= room:
            return WindowPrompt(pieces, self.limit, new, self._longer(window, texts, self.limit))
        low, high = 0, self.limit or max(self._units(text) for text in texts)  # fits at low if at all, not at high
        while high - low > 1:
            middle = (low + high) // 2
            fits = _length(self._pieces(item.query.text, texts, middle)) <= room
            low, high = (middle, high) if fits else (low, middle)
        if low == 0:
            shortest = _length(self._pieces(item.query.text, texts, 1))
            raise ValueError(
                f"query {item.query.id!r}: a window of {len(window)} passages, truncated to 1 of {self.cut} each, "
                f"needs {shortest} prompt tokens and {new} reply tokens; the model's context is {self.max_tokens}. "
                "Decrease window or max_new_tokens"
            )
        return WindowPrompt(self._pieces(item.query.text, texts, low), low, new, self._longer(window, texts, low))

    def _longer(self, window: Sequence[int], texts: Sequence[str], limit: int | None) -> tuple[int, ...]:
        """The window's candidates that are longer than the limit."""
        if limit is None:
            return ()
        return tuple(i for i, text in zip(window, texts, strict=True) if self._units(text) > limit)

    def max_new_tokens(self, size: int) -> int:
        """Return the token limit of a reply for a window of `size` passages."""
        if self._max_new_tokens is not None:
            return self._max_new_tokens
        return len(self._text_ids(" > ".join(f"[{rank}]" for rank in range(1, size + 1)))) + 64

    def _pieces(self, query: str, texts: Sequence[str], limit: int | None) -> tuple[Piece, ...]:
        num = len(texts)
        query = query.strip()
        foreign = [
            self._text_ids(OPENING.format(num=num, query=query)),
            *(self._passage(rank, text, limit) for rank, text in enumerate(texts, 1)),
            self._text_ids(CLOSING.format(num=num, query=query)),
        ]
        frame = self._frame(num)
        pieces = [piece for i, ids in enumerate(foreign) for piece in (frame[i], Piece(ids, plain=True))]
        return (*pieces, frame[-1])

    def _passage(self, rank: int, text: str, limit: int | None) -> tuple[int, ...]:
        label = self._text_ids(f"[{rank}]")
        if self.cut == "tokens":
            return (*label, *self._text_ids(f" {text}")[:limit])
        return (*label, *self._text_ids(f" {' '.join(text.split()[:limit])}"))

    def _units(self, text: str) -> int:
        return len(text.split()) if self.cut == "words" else len(self._text_ids(f" {text}"))

    def _frame_of(self, num: int) -> list[Piece]:
        passages: list[Message] = []
        for rank in range(1, num + 1):
            passages += [("user", None), ("assistant", RECEIVED.format(rank=rank))]
        return self.chat.frame([("system", SYSTEM), ("user", None), ("assistant", READY), *passages, ("user", None)])


def _length(pieces: Sequence[Piece]) -> int:
    return sum(len(piece.ids) for piece in pieces)
