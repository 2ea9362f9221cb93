"""Compute how many token positions candidate lists take in a model's context. Short lists are not tokenised."""

from collections.abc import Iterable, Iterator

from headrank.model.prompt import PromptBuilder
from headrank.ranking import CandidateList

_TOKENS_PER_BYTE = (
    3  # upper bound: a token is at least one UTF-8 byte, and normalisation (NFC) makes text up to 3 times as long
)


class PromptLengths:
    """Computes the number of token positions that the prompts of candidate lists take in the model's context.

    Tails share positions, so a prompt can take fewer positions than it has tokens.

    Args:
        builder: builds the prompts.
        with_null: whether the prompts contain the null query.
    """

    def __init__(self, builder: PromptBuilder, *, with_null: bool) -> None:
        self.builder, self.with_null = builder, with_null
        self._frames: dict[int, int] = {}  # number of passages -> positions without texts

    def too_long(
        self, lists: Iterable[CandidateList], limit: int, draw: int = 0
    ) -> Iterator[tuple[CandidateList, int]]:
        """Yield the lists whose prompts take more than `limit` token positions, each with that number.

        Args:
            lists: the candidate lists.
            limit: the number of token positions of the model's context.
            draw: the number of passages that a prompt takes from its list; 0: all passages. Any passage may be drawn,
                so the longest ones are counted.
        """
        for item in lists:
            if self.bound(item, draw) > limit and (positions := self.positions(item, draw)) > limit:
                yield item, positions

    def bound(self, item: CandidateList, draw: int = 0) -> int:
        """Return an upper bound on the number of token positions that a list's prompt takes.

        It is computed from the lengths of the texts in bytes, without tokenising them.

        draw: the number of passages that the prompt takes from the list, of which the longest are counted; 0: all.
        """
        s = self.builder.settings
        passages = sorted((_bound(passage.text, s.max_passage_tokens) for passage in item.passages), reverse=True)
        kept = passages[: draw or None]
        return self._frame(len(kept)) + sum(kept) + _bound(item.query.text, s.max_query_tokens)

    def positions(self, item: CandidateList, draw: int = 0) -> int:
        """Tokenise a list's texts and return the exact number of token positions that its prompt takes.

        draw: the number of passages that the prompt takes from the list, of which the longest are counted; 0: all.
        """
        texts = [passage.text for passage in item.passages]
        prompt = self.builder.build(item.query.text, texts, with_null=self.with_null)
        if not draw or draw >= len(texts):
            return prompt.positions
        lengths = [span.end - span.start for span in prompt.passages]
        longest = sorted(range(len(texts)), key=lambda i: -lengths[i])[:draw]
        drawn = [texts[i] for i in sorted(longest)]
        return self.builder.build(item.query.text, drawn, with_null=self.with_null).positions

    def _frame(self, passages: int) -> int:
        if passages not in self._frames:
            self._frames[passages] = self.builder.build("", [""] * passages, with_null=self.with_null).positions
        return self._frames[passages]


def _bound(text: str, limit: int | None) -> int:
    tokens = _TOKENS_PER_BYTE * (len(text.encode("utf-8", "surrogatepass")) + 1)
    return tokens if limit is None else min(limit, tokens)
