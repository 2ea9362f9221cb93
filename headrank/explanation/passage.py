"""The explanation of one passage's score."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TokenContribution:
    """What a token adds to a score.

    The token is the span [start, end) of characters of the text. A span is empty for tokens that belong to a text in
    the prompt but are no characters of it: the space before it, or a label that counts as part of the passage.
    """

    start: int
    end: int
    contribution: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"start": self.start, "end": self.end, "contribution": self.contribution}


@dataclass(frozen=True, slots=True)
class PassageExplanation:
    """The contributions of the tokens that made a passage's score. What they add up to: `Explanation.adds_up_to`.

    id, index, rank, score, text, truncated: as in `headrank.reranker.RerankResult`.
    tokens: the passage's tokens in the order of the text; none for text beyond a cut.
    rest: what is not the attention's: with fusion the first stage's part and the mean that is subtracted, in lists read
        in several prompts the shift of the passages that were not read again; otherwise 0.
    query_tokens: what each token of the query adds, over all tokens of the passage. They and `other_rows` add up to
        what `tokens` add up to, except with the token filter, whose dropped tokens they include.
    other_rows: the same for the tokens that are read besides the query's (`scorer.query_rows`): the instruction's and
        the prompt's end; 0 without.
    heads: by head ("layer-head") the contribution of each of `tokens`; empty if not requested.
    """

    id: Any  # text or an integer
    index: int
    rank: int
    score: float
    text: str
    tokens: tuple[TokenContribution, ...]
    rest: float = 0.0
    truncated: bool = False
    query_tokens: tuple[TokenContribution, ...] = ()
    other_rows: float = 0.0
    heads: Mapping[str, tuple[float, ...]] = field(default_factory=dict, hash=False)

    @property
    def contribution(self) -> float:
        """The sum over the tokens."""
        return math.fsum(token.contribution for token in self.tokens)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `heads` only if requested."""
        content = {
            "id": self.id,
            "index": self.index,
            "rank": self.rank,
            "score": self.score,
            "text": self.text,
            "truncated": self.truncated,
            "contribution": self.contribution,
            "rest": self.rest,
            "tokens": [token.to_dict() for token in self.tokens],
            "query_tokens": [token.to_dict() for token in self.query_tokens],
            "other_rows": self.other_rows,
        }
        return content | ({"heads": {name: list(of) for name, of in self.heads.items()}} if self.heads else {})
