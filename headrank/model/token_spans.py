"""The characters of a text that its tokens in a prompt stand for."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from headrank.model.plain_text import first_characters, spaced
from headrank.model.prompt import Span


class TokenSpans(NamedTuple):
    """The spans of a text's tokens, as entries.

    spans: the entries' half-open character spans in the text, ascending, without overlap. Tokens whose spans overlap,
        such as the byte tokens of one character, share an entry. Tokens without characters of the text (a label that
        counts as part of the passage, the space that a prompt puts before a text) share the first entry, whose span is
        empty; it exists only if there are such tokens.
    entries: for each token the index of its entry.
    """

    spans: tuple[Span, ...]
    entries: tuple[int, ...]


def find_spans(tokenizer: Any, text: str, ids: Sequence[int], limit: int | None) -> TokenSpans:
    """Tokenise a text again as `PromptBuilder` does and find the characters of each token.

    Args:
        tokenizer: the builder's `text_tokenizer`.
        text: a text that UTF-8 can encode.
        ids: the ids in the prompt; tokens before those of the text have no characters in it.
        limit: the maximum number of the text's tokens in the prompt; None: unlimited.

    Raises:
        ValueError: the ids are not those of the text.
    """
    prepared = spaced(text)
    if limit is not None:
        prepared = first_characters(tokenizer, prepared, limit)
    encoding = tokenizer.encode(prepared, add_special_tokens=False)
    count = len(encoding.ids[:limit])
    before = len(ids) - count
    if before < 0 or list(ids[before:]) != encoding.ids[:limit]:
        raise ValueError(f"the prompt holds {len(ids)} tokens that are not those of the text {text[:60]!r}")
    lead = len(text) - len(text.lstrip()) if text.strip() else 0  # characters that the prompt does not hold
    first = Span(lead, lead)
    found = [first] * before + [_moved(offsets, lead) for offsets in encoding.offsets[:count]]
    rest = encoding.offsets[count:]  # tokens beyond the cut
    return _merge(found, lead, _moved(rest[0], lead).start if rest else lead + len(text.strip()))


def _moved(offsets: tuple[int, int], lead: int) -> Span:
    """Offsets in the prompt's text, whose position 0 is a space, as a span of the given text."""
    return Span(*(max(position - 1, 0) + lead for position in offsets))


def _merge(found: Sequence[Span], start: int, end: int) -> TokenSpans:
    """Merge overlapping spans. Characters without a token, which normalisation joined to another or the tokenizer does
    not know, go to the entry before them, or to the first one that has characters."""
    spans: list[Span] = []
    entries: list[int] = []
    for span in found:
        if spans and (span.start < spans[-1].end or span.start == span.end):
            spans[-1] = Span(spans[-1].start, max(spans[-1].end, span.end))
        else:
            begin = start
            if spans and spans[-1].end > start:
                begin = span.start
                spans[-1] = Span(spans[-1].start, begin)
            spans.append(Span(begin, max(begin, span.end)))
        entries.append(len(spans) - 1)
    if spans and spans[-1].end > start:
        spans[-1] = Span(spans[-1].start, max(spans[-1].end, end))
    return TokenSpans(tuple(spans), tuple(entries))
