"""The first token ids of long texts, without tokenising the rest.

A tokenizer takes seconds and gigabytes for a text of megabytes of which the prompt keeps a few hundred tokens. Here
only the beginning of such a text is tokenised, cut where the cut cannot change the ids that are kept.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

_CHARACTERS_PER_TOKEN = 16  # of the first attempt; running text has 3 to 5, runs of spaces up to 128


def encode_first(tokenizer: Any, texts: Sequence[str], limit: int | None) -> list[list[int]]:
    """The first `limit + 1` token ids of each text (None: all). One id more than `limit` shows that the text is longer.

    tokenizer: a `tokenizers.Tokenizer`, or anything with its `encode` and `encode_batch`.
    """
    ids: list[list[int]] = [[] for _ in texts]
    window = None if limit is None else _first_window(limit)
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
    """A beginning of the text that has the text's own first `limit + 1` token ids; the whole text if it is short.

    The cut lies before white space if there is any nearby: tokenizers split there. It lies at least `limit` tokens and
    64 more behind the ids that are kept. Inside a run without white space two different cuts must agree on those
    ids, and no cut separates a combining mark from its letter (Unicode normalisation sorts the marks of a letter). If
    no cut of a window passes, the window doubles, up to the whole text.
    """
    window = _first_window(limit)
    while window < len(text):
        cuts = _cuts(text, window)
        ids = [tokenizer.encode(text[:cut], add_special_tokens=False).ids for cut in cuts]
        enough = bool(ids) and all(len(one) >= _tokens_tried(limit) for one in ids)
        if enough and all(one[: limit + 1] == ids[0][: limit + 1] for one in ids):
            return text[: cuts[0]]
        window *= 2
    return text


def _first_window(limit: int) -> int:
    return _CHARACTERS_PER_TOKEN * _tokens_tried(limit)


def _tokens_tried(limit: int) -> int:
    return 2 * limit + 64


def _cuts(text: str, window: int) -> list[int]:
    """Where to cut: before the last white space of the window's second half; else at the last two places of that half
    that split no letter from its marks; empty if there are no such places."""
    half = range(window, window // 2, -1)
    for cut in half:
        if text[cut].isspace() and not text[cut - 1].isspace():
            return [cut]
    starters: Iterator[int] = (cut for cut in half if not unicodedata.combining(text[cut]))
    cuts = [cut for cut, _ in zip(starters, range(2), strict=False)]
    return cuts if len(cuts) == 2 else []
