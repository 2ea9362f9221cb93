"""Generated permutations: read from a reply, repaired, and counted by what was wrong with them.

Reading and repairing follow RankGPT (Sun et al. 2023, arXiv 2304.09542, `receive_permutation` of its code): every run
of digits is an identifier; repeated and foreign ones are dropped, missing ones are put at the end in their previous
order. RankLLM's additions (Pradeep et al., its `_clean_response`) are kept: what stands before `</think>` is no reply,
and digits of any script and form count as digits.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = ("windows", "well_formed", "ok", "repeated", "missing", "foreign", "unreadable", "other_text", "cut")

_LONGEST = 9  # digits of an identifier that is read as a number; no list is that long, and int() refuses above 4300
_BARE = re.compile(r"\s*\[[0-9]+\](\s*>\s*\[[0-9]+\])*\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Permutation:
    """A reply as read: `order` is complete, positions of the window from 0, the best first.

    repeated, missing, foreign: an identifier stood more than once, none of a passage, one of no passage.
    unreadable: there was no identifier at all (`missing` is then not said as well).
    bare: nothing stood beside the identifiers but brackets, `>` and white space.
    cut: the reply ended at the limit of tokens, not of itself.
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
    """The permutation of a window of `size` passages that a reply gives, repaired where it is malformed.

    Raises `ValueError` if `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"a window of {size} passages has no permutation, expected at least 1")
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
    """How many windows had a reply of each kind; a malformed reply may be of several kinds.

    `well_formed` over `windows` is the formatting success. `ok` are those of them that are `bare` too: what RankLLM's
    response analysis calls ok.
    """
    counts: dict[str, int] = dict.fromkeys(KINDS, 0)
    for one in permutations:
        counts["windows"] += 1
        counts["well_formed"] += one.well_formed
        counts["ok"] += one.well_formed and one.bare
        counts["other_text"] += not one.bare
        for kind in ("repeated", "missing", "foreign", "unreadable", "cut"):
            counts[kind] += getattr(one, kind)
    return counts


def _digits_only(text: str) -> str:
    # isdigit() is wider than what int() reads: superscripts and circled digits have a digit value too
    return "".join(str(unicodedata.digit(c)) if c.isdigit() else " " for c in text)


def _number(digits: str) -> int:
    """The number, or one that is foreign to every window where it has too many digits."""
    stripped = digits.lstrip("0")
    return int(stripped or "0") if len(stripped) <= _LONGEST else 10**_LONGEST
