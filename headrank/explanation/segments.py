"""Texts as segments to render: tokens with their contributions, and the characters between and after them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrank.surrogates import encodable

MOST_HEADS = 16  # rendered per passage; hundreds would make a page of many megabytes
FAINTEST = 0.05  # of the strongest contribution's intensity; a fainter background is not seen
OUTSIDE = "⟨prompt⟩"
"""Shown for tokens that are no characters of the text, see `TokenContribution`."""

_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # would reorder the text around them
_CONTROLS = _PICTURES | dict.fromkeys((*range(0x80, 0xA0), *_DIRECTIONS), "\ufffd")


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a text.

    text: its characters, safe for a terminal, see `visible`.
    contribution: of the token; None for characters without a token.
    strength: from 0 to 1, by which the background is coloured: the root of |contribution| / the largest one shown.
    unread: whether the characters were cut off.
    """

    text: str
    contribution: float | None = None
    strength: float = 0.0
    unread: bool = False


def visible(text: str) -> str:
    """The text with pictures of control characters in their place, and without lone surrogates."""
    return encodable(text).translate(_CONTROLS)


def strongest(contributions: Iterable[float]) -> float:
    """The largest absolute contribution; 0 without any."""
    return max(map(abs, contributions), default=0.0)


def strongest_heads(heads: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Select the heads whose contributions to a passage have the largest absolute sums, at most `MOST_HEADS`.

    heads: head -> the contributions of the passage's tokens.
    """
    chosen = sorted(heads, key=lambda name: -abs(sum(heads[name])))[:MOST_HEADS]
    return {name: values for name, values in heads.items() if name in chosen}


def split_segments(
    text: str,
    tokens: Sequence[Mapping[str, Any]],
    peak: float,
    *,
    truncated: bool = False,
    contributions: Sequence[float] | None = None,
) -> list[Segment]:
    """Split a text at its tokens.

    Args:
        text: the text.
        tokens: start, end and contribution of its tokens, as in `Explanation.to_dict`.
        peak: the contribution that is shown with full strength.
        truncated: whether the text after the last token was not read.
        contributions: replace those of the tokens (those of a single head); None: the tokens' own.
    """
    segments, at = [], 0
    values = [token["contribution"] for token in tokens] if contributions is None else contributions
    for token, value in zip(tokens, values, strict=True):
        start, end = token["start"], token["end"]
        if start > at:
            segments.append(Segment(visible(text[at:start])))
        strength = math.sqrt(abs(value) / peak) if peak else 0.0
        strength = strength if strength >= FAINTEST else 0.0
        token_text = visible(text[start:end]) if end > start else OUTSIDE
        word = token_text.lstrip() or token_text
        if len(word) < len(token_text):  # a token often begins with the space before its word, which stays plain
            segments.append(Segment(token_text[: -len(word)]))
        segments.append(Segment(word, value, strength))
        at = end
    if at < len(text):
        segments.append(Segment(visible(text[at:]), unread=truncated))
    return segments
