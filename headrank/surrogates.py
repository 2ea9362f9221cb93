"""Texts with surrogates, which broken JSON escapes leave: Python holds them, but UTF-8 cannot encode them."""

import re

_CHARACTER = re.compile("[\ud800-\udbff][\udc00-\udfff]|.", re.DOTALL)


def encodable(text: str) -> str:
    """Replace lone surrogates by U+FFFD and join pairs of them: tokenizers and files need text in UTF-8."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def original_positions(text: str) -> list[int]:
    """For each character of `encodable(text)` its position in `text`; the last entry is the length of `text`."""
    return [*(found.start() for found in _CHARACTER.finditer(text)), len(text)]
