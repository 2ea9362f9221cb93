"""Parse permutations from generated replies, repair them, and count malformed replies by kind.

Parsing and repair follow RankGPT (Sun et al. 2023, arXiv 2304.09542, `receive_permutation` of its code). Every run of
digits is an identifier: the number, from 1, of a passage in the window. Repeated identifiers and those that name no
passage (foreign) are dropped; missing ones are appended in their previous order. As in RankLLM (Pradeep et al.,
`_clean_response`), text before `</think>` is ignored, and digits of any script and form count as digits.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = ("windows", "well_formed", "ok", "repeated", "missing", "foreign", "unreadable", "other_text", "cut")

_LONGEST = 9  # digits of the longest identifier that is parsed; longer ones are foreign, and int() rejects 4300 digits
_BARE = re.compile(r"\s*\[[0-9]+\](\s*>\s*\[[0-9]+\])*\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Permutation:
    """A parsed and repaired reply.

    order: a complete permutation of window positions from 0, best first.
    repeated: whether an identifier occurred more than once.
    missing: whether the identifier of a passage was missing.
    foreign: whether an identifier belonged to no passage.
    unreadable: whether the reply had no identifier at all; `missing` is then False.
    bare: whether the reply contained only identifiers, brackets, `>` and white space.
    cut: whether the reply ended at the token limit.
    """

    order: tuple[int, ...]
    repeated: bool = False
    missing: bool = False
    foreign: bool = False
    unreadable: bool = False
    bare: bool = True
    cut: bool = False

    @property
    def well_formed(self) -> bool:
        """Whether the identifiers are a complete permutation: none repeated, missing or foreign."""
        return not (self.repeated or self.missing or self.foreign or self.unreadable)


def read_permutation(reply: str, size: int, *, cut: bool = False) -> Permutation:
    """Parse the permutation of a window from a reply, and repair it if it is malformed.

    Args:
        reply: the generated text.
        size: the number of passages in the window.
        cut: whether the reply ended at the token limit.

    Returns:
        The repaired permutation and the faults of the reply.

    Raises:
        ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"a window of {size} passages; expected at least 1")
    text = reply.rsplit("</think>", 1)[-1]
    found = [_number(digits) for digits in _digits_only(text).split()]
    order = list(dict.fromkeys(number - 1 for number in found if 1 <= number <= size))
    seen = set(order)
    missing = [position for position in range(size) if position not in seen]
    return Permutation(
        order=(*order, *missing),
        repeated=len(set(found)) < len(found),
        missing=bool(missing) and bool(found),
        foreign=any(not 1 <= number <= size for number in found),
        unreadable=not found,
        bare=_BARE.fullmatch(text) is not None,
        cut=cut,
    )


def reply_counts(permutations: Iterable[Permutation]) -> dict[str, int]:
    """Count replies by kind.

    Args:
        permutations: one per reply.

    Returns:
        Kind (of `KINDS`) -> number of replies, for example `windows` -> 9. `windows` counts all, and a malformed reply
        can be of several kinds. `well_formed` divided by `windows` is the formatting success rate. `ok` counts
        well-formed replies without other text, like "ok" in RankLLM's response analysis.
    """
    counts: dict[str, int] = dict.fromkeys(KINDS, 0)
    for permutation in permutations:
        counts["windows"] += 1
        counts["well_formed"] += permutation.well_formed
        counts["ok"] += permutation.well_formed and permutation.bare
        counts["other_text"] += not permutation.bare
        for kind in ("repeated", "missing", "foreign", "unreadable", "cut"):
            counts[kind] += getattr(permutation, kind)
    return counts


def _digits_only(text: str) -> str:
    # isdigit() accepts more than int(): superscripts and circled digits also have a digit value
    return "".join(str(unicodedata.digit(c)) if c.isdigit() else " " for c in text)


def _number(digits: str) -> int:
    """The identifier as a number; with too many digits, a number that is foreign to every window."""
    stripped = digits.lstrip("0")
    return int(stripped or "0") if len(stripped) <= _LONGEST else 10**_LONGEST
