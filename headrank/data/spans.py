"""Find words and sentences in a text by position, choose the span that becomes a query, and delete spans. [ours]

Words are those of BM25's tokenizer. Chinese, Japanese and Korean texts are counted in characters.
"""

import random
import re
from collections.abc import Iterable, Sequence, Set
from typing import TypeAlias

from headrank.data.bm25.languages import Tokenizer, folded, word_pattern
from headrank.data.bm25.words import BM25Parameters, stop_words
from headrank.data.settings import GeneratedQueries

Span: TypeAlias = tuple[int, int]
"""The start and the end of a part of a text, in characters."""

_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*\s+|[。！？｡]+[”’」』）]*\s*|\n+")


def word_spans(text: str, parameters: BM25Parameters, *, pairs: bool = False) -> list[Span]:
    """Find the words of a text, in order.

    Args:
        text: the text.
        parameters: the parameters of BM25, whose tokenizer splits the text.
        pairs: with the tokenizer `bigrams`, return pairs of Chinese, Japanese and Korean characters, the words of BM25;
            otherwise single characters.
    """
    tokenizer = parameters.analysis.tokenizer
    found = word_pattern(tokenizer).finditer(text)
    if tokenizer != Tokenizer.BIGRAMS:
        spans = [match.span(1 if match.re.groups else 0) for match in found]
        return [(start, end) for start, end in spans if start < end]
    spans = []
    for match in found:
        start, end = match.span()
        if match.group(1) is None:
            spans.append((start, end))
        else:
            width = min(2, end - start) if pairs else 1
            spans += [(i, i + width) for i in range(start, end - width + 1)]
    return spans


def choose_span(text: str, settings: GeneratedQueries, parameters: BM25Parameters, rng: random.Random) -> Span | None:
    """Choose the span of a passage that becomes a query: consecutive words, or a sentence.

    Spans that contain only stop words are not chosen.

    Args:
        text: the text of the passage.
        settings: the unit and the numbers of words.
        parameters: the parameters of BM25.
        rng: the source of the random choice.

    Returns:
        The span; None if the passage has no such span.
    """
    words = word_spans(text, parameters)
    if settings.unit == "sentence":
        spans = [one for one in _sentences(text) if settings.min_words <= _inside(words, one) <= settings.max_words]
    else:
        length = rng.randint(settings.min_words, settings.max_words)
        spans = [(words[i][0], words[i + length - 1][1]) for i in range(len(words) - length + 1)]
    rng.shuffle(spans)
    return next((one for one in spans if content_words(text[slice(*one)], parameters)), None)


def content_words(text: str, parameters: BM25Parameters) -> set[str]:
    """Return the words of a text as BM25 compares them before stemming: normalised, without stop words."""
    analysis = parameters.analysis
    found = {folded(text[start:end], analysis.fold) for start, end in word_spans(text, parameters, pairs=True)}
    return found - stop_words(analysis)


def without_words(text: str, words: Set[str], parameters: BM25Parameters) -> str:
    """Delete every occurrence of some words, given as by `content_words`, from a text."""
    fold = parameters.analysis.fold
    spans = word_spans(text, parameters, pairs=True)
    return without_spans(text, [(start, end) for start, end in spans if folded(text[start:end], fold) in words])


def without_spans(text: str, spans: Iterable[Span]) -> str:
    """Delete spans, in ascending order, from a text, each with the white space after it if white space precedes it."""
    kept, last = [], 0
    for start, end in spans:
        while end < len(text) and text[end].isspace() and (start == 0 or text[start - 1].isspace()):
            end += 1
        kept.append(text[last:start])
        last = max(last, end)
    return "".join([*kept, text[last:]]).strip()


def _sentences(text: str) -> list[Span]:
    """The sentences of a text with their final punctuation. A full stop and white space end one, as a new line does."""
    ends = [*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    spans = []
    for start, end in zip([0, *ends], ends, strict=False):
        sentence = text[start:end]
        if sentence.strip():
            spans.append((start + len(sentence) - len(sentence.lstrip()), start + len(sentence.rstrip())))
    return spans


def _inside(words: Sequence[Span], span: Span) -> int:
    return sum(span[0] <= start and end <= span[1] for start, end in words)
