"""Counts the tokens of texts as a reranker reads them, and cuts texts to a number of tokens."""

from collections.abc import Sequence

from headrank.model import PromptBuilder
from headrank.model.plain_text import encodable, encode_first, split_text
from headrank.reranker.reranker import Reranker

_CHARACTERS_PER_TOKEN = 32  # of a piece of `split_text`, at most


class TextLengths:
    """Measures texts with the tokenizer of a reranker, without the words of the prompt."""

    def __init__(self, reranker: Reranker) -> None:
        self.limits = reranker.heads.prompt
        self._tokenizer = PromptBuilder(reranker.backbone.tokenizer, self.limits).text_tokenizer

    def tokens(self, query: str, texts: Sequence[str]) -> int:
        """The number of tokens of the query and the texts that are read: each up to the limit of the prompt settings.

        With `scorer.long_passages=max` more of a long text is read; the count is the same.
        """
        limits = ((self.limits.max_query_tokens, [query]), (self.limits.max_passage_tokens, list(texts)))
        return sum(
            len(ids if limit is None else ids[:limit])
            for limit, part in limits
            for ids in encode_first(self._tokenizer, [f" {encodable(text).strip()}" for text in part], limit)
        )

    def cut(self, text: str, limit: int) -> str:
        """The beginning of the text with at most `limit` tokens, cut before white space if possible."""
        return split_text(self._tokenizer, text[: _CHARACTERS_PER_TOKEN * limit + 1], limit)[0]
