"""Tokenise texts without special tokens and without a leading space, and only the beginning of long texts.

A tokenizer needs seconds and gigabytes for a text of megabytes, of which the prompt keeps a few hundred tokens. Such a
text is tokenised only up to a point where the cut cannot change the kept ids (`encode_first`).
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from headrank.surrogates import encodable

_CHARACTERS_PER_TOKEN = 16  # window of the first attempt; running text has 3 to 5, runs of spaces up to 128


def spaced(text: str) -> str:
    """The text as a prompt holds it, stripped and after a space.

    With the space the first word gets the token it has in running text; an empty text is one token.
    """
    return f" {encodable(text).strip()}"


def plain_text_tokenizer(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """Copy the tokenizer's backend without special or added tokens and without the leading space.

    `split_special_tokens=True` would keep added tokens that are not marked special (Qwen3's `<think>`); here they are
    split like any other text. Added tokens of white space only (Gemma's runs of newlines) stay. SentencePiece puts a
    space before a text; the pieces of a prompt follow other text, so they get none.
    """
    specification = json.loads(tokenizer.backend_tokenizer.to_str())
    specification["added_tokens"] = [t for t in specification["added_tokens"] if not t["content"].strip()]
    specification["post_processor"] = None
    specification["truncation"] = specification["padding"] = None
    for name in ("normalizer", "pre_tokenizer"):
        specification[name] = _without_prefix_space(specification[name])
    return Tokenizer.from_str(json.dumps(specification))


def _without_prefix_space(step: dict[str, Any] | None) -> dict[str, Any] | None:
    """The normalizer or pre-tokenizer without its leading space; None if nothing else remains."""
    if step is None or step["type"] == "Prepend":
        return None
    step = dict(step)
    for inner in ("normalizers", "pretokenizers"):
        if inner in step:
            step[inner] = [kept for part in step[inner] if (kept := _without_prefix_space(part)) is not None]
    if step["type"] == "Metaspace":
        step["prepend_scheme"] = "never"
    if step["type"] == "ByteLevel":
        step["add_prefix_space"] = False
    return step


def encode_first(tokenizer: Any, texts: Sequence[str], limit: int | None) -> list[list[int]]:
    """Return the first `limit + 1` token ids of each text. More than `limit` ids mean that the text is longer.

    tokenizer: a `tokenizers.Tokenizer`, or an object with its methods `encode` and `encode_batch`. limit: None: all ids
    are returned.
    """
    ids: list[list[int]] = [[] for _ in texts]
    window = None if limit is None else _window_characters(limit)
    short = [i for i, text in enumerate(texts) if window is None or len(text) <= window]
    encoded = tokenizer.encode_batch([texts[i] for i in short], add_special_tokens=False)
    for i, one in zip(short, encoded, strict=True):
        ids[i] = one.ids
    if limit is None:
        return ids
    for i in set(range(len(texts))) - set(short):
        ids[i] = tokenizer.encode(first_characters(tokenizer, texts[i], limit), add_special_tokens=False).ids
    return [one[: limit + 1] for one in ids]


def first_characters(tokenizer: Any, text: str, limit: int) -> str:
    """Return a beginning of the text whose first `limit + 1` token ids are those of the whole text.

    A short text is returned whole. The cut is made before white space if possible, because tokenizers split there. At
    least `limit + 64` further tokens lie between the kept ids and the cut. Inside a run without white space, two
    different cuts must agree on the kept ids, and no cut separates a combining mark from its letter (Unicode
    normalisation sorts the marks of a letter). If no cut of a window qualifies, the window doubles, up to the whole
    text.
    """
    window = _window_characters(limit)
    while window < len(text):
        cuts = _cuts(text, window)
        ids = [tokenizer.encode(text[:cut], add_special_tokens=False).ids for cut in cuts]
        enough = bool(ids) and all(len(one) >= _window_tokens(limit) for one in ids)
        if enough and all(one[: limit + 1] == ids[0][: limit + 1] for one in ids):
            return text[: cuts[0]]
        window *= 2
    return text


def _window_characters(limit: int) -> int:
    return _CHARACTERS_PER_TOKEN * _window_tokens(limit)


def _window_tokens(limit: int) -> int:
    return 2 * limit + 64


def _cuts(text: str, window: int) -> list[int]:
    """Candidate cuts: before the last white space in the window's second half, else the last two positions of that half
    that split no letter from its marks, else none."""
    half = range(window, window // 2, -1)
    for cut in half:
        if text[cut].isspace() and not text[cut - 1].isspace():
            return [cut]
    starters: Iterator[int] = (cut for cut in half if not unicodedata.combining(text[cut]))
    cuts = [cut for cut, _ in zip(starters, range(2), strict=False)]
    return cuts if len(cuts) == 2 else []


def split_text(tokenizer: Any, text: str, limit: int) -> list[str]:
    """Return the text in consecutive pieces of at most `limit` tokens, cut before white space if possible.

    The tokens of a piece are counted with the space that a prompt puts before it. A piece has at least one character,
    even if this has more than `limit` tokens, and at most 32 characters per token. A short text is returned whole.
    """
    text, pieces = encodable(text), []
    while (size := _fitting(tokenizer, text, limit)) < len(text):
        spaces = (cut for cut in range(size, size // 2, -1) if text[cut].isspace() and not text[cut - 1].isspace())
        size = next(spaces, size)
        pieces.append(text[:size])
        text = text[size:]
    return [*pieces, text]


def _fitting(tokenizer: Any, text: str, limit: int) -> int:
    """The number of characters, at least one, at the beginning of the text that have at most `limit` tokens."""
    size = min(len(text), 2 * _CHARACTERS_PER_TOKEN * limit)  # not all of a long text for each of its pieces
    while True:
        encoding = tokenizer.encode(f" {text[:size].strip()}", add_special_tokens=False)
        if len(encoding.ids) <= limit or size <= 1:
            return size
        shift = len(text) - len(text.lstrip()) - 1  # of the offsets, which count from the space
        size = max(1, min(size - 1, encoding.offsets[limit][0] + shift))


@dataclass(slots=True)
class CutCounts:
    """The numbers of passages and queries that were cut to a prompt's limit, over all candidate lists of a job."""

    lists: int = 0
    passages: int = 0
    cut_lists: int = 0  # lists with a cut passage
    cut_passages: int = 0
    cut_queries: int = 0

    def add(self, passages: int, cut_passages: int, *, query_cut: bool = False) -> None:
        """Add one list to the counts.

        Args:
            passages: the number of its passages.
            cut_passages: the number of its passages that were cut.
            query_cut: whether its query was cut.
        """
        self.lists += 1
        self.passages += passages
        self.cut_lists += cut_passages > 0
        self.cut_passages += cut_passages
        self.cut_queries += query_cut

    def __bool__(self) -> bool:
        return self.cut_passages > 0 or self.cut_queries > 0

    @property
    def facts(self) -> dict[str, int]:
        """The counts by name, as `cuts_text` expects them."""
        names = ("passages", "cut_lists", "cut_passages", "cut_queries")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return cuts_text({"lists": self.lists, **self.facts})


def cuts_text(facts: Mapping[str, Any]) -> str:
    """Format the counts of `CutCounts.facts`, as in `12 of 480 passages in 7 of 24 lists, 0 of 24 queries`."""
    lists = facts["lists"]
    passages = f"{facts['cut_passages']} of {facts['passages']} passages in {facts['cut_lists']} of {lists} lists"
    return f"{passages}, {facts['cut_queries']} of {lists} queries"
