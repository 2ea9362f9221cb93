"""The explanation of a ranking."""

from dataclasses import dataclass
from typing import Any

from headrank.explanation.ansi import render_ansi
from headrank.explanation.html import render_html
from headrank.explanation.passage import PassageExplanation, TokenContribution


@dataclass(frozen=True, slots=True)
class Explanation:
    """The tokens that made the scores of a ranking's passages.

    query: the query's text.
    passages: the explained passages, best first.
    adds_up_to: what the contributions of a passage's tokens add up to. `score`: with `rest`, its score.
        `score_shares`: the same, but the score of each head is spread over the tokens in proportion to their attention.
        `attention`: the attention mass whose logarithm is the score (calibration `none`), without `eps`; with two
        context orders the mean of the two masses.
    calibration: the calibration's name.
    query_truncated: whether the query was cut; the tokens beyond the cut are not among `query_tokens`.
    """

    query: str
    passages: tuple[PassageExplanation, ...]
    adds_up_to: str
    calibration: str
    query_truncated: bool = False

    @property
    def query_tokens(self) -> tuple[TokenContribution, ...]:
        """What each token of the query adds: the mean over the explained passages."""
        columns = zip(*(passage.query_tokens for passage in self.passages), strict=True)
        return tuple(
            TokenContribution(same[0].start, same[0].end, sum(one.contribution for one in same) / len(same))
            for same in columns
        )

    @property
    def other_rows(self) -> float:
        """The mean of `PassageExplanation.other_rows` over the explained passages."""
        return sum(passage.other_rows for passage in self.passages) / max(1, len(self.passages))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "query": self.query,
            "query_truncated": self.query_truncated,
            "query_tokens": [token.to_dict() for token in self.query_tokens],
            "other_rows": self.other_rows,
            "adds_up_to": self.adds_up_to,
            "calibration": self.calibration,
            "passages": [passage.to_dict() for passage in self.passages],
        }

    def html(self) -> str:
        """A self-contained page: the texts with their tokens coloured by contribution. Light or dark as the reader."""
        return render_html(self.to_dict())

    def _repr_html_(self) -> str:
        """The same as an element, for notebooks."""
        return render_html(self.to_dict(), page=False)

    def ansi(self) -> str:
        """The same for a terminal, with ANSI colours."""
        return render_ansi(self.to_dict())
