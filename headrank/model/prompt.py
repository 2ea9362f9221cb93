"""Prompts: token ids built piece by piece, with the exact span of every passage, instruction and query.

The passages come first (the prefix), then one or more tails: the query's, and the null query's where scores are
calibrated. Both tails follow the same prefix. Nothing is searched for in the assembled text, so repeated, nested or
hostile texts cannot confuse a span; special-token strings inside passages and queries are plain text.
"""

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from headrank.model.layouts import Layout, find_layout
from headrank.model.truncation import encode_first


class Span(NamedTuple):
    """Half-open token positions [start, end)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """The wording and the limits of a prompt. The default wording is that of ICR (arXiv 2410.02642) and QRHead."""

    layout: str = "auto"  # a name in `LAYOUTS`, or `auto`: recognised from the tokenizer
    opening: str = "Here are some paragraphs:"  # before the first passage
    instruction: str = "Please find information that are relevant to the following query in the paragraphs above."
    query_label: str = "Query:"
    null_query: str = "N/A"  # the query that carries no information, for calibration
    null_after_instruction: bool = True  # False: the null query stands alone, without instruction and label
    separator: str = "\n\n"
    label_in_span: bool = False  # True: a passage's "[1]" counts as part of it, as ICR and QRHead do
    attention: str = "full"  # full: passages attend those before them | blocks: each the opening and itself alone
    query_position: int = 0  # blocks: tokens after the opening where queries start at the earliest; see `Prompt`
    max_passage_tokens: int | None = 256  # tokens; longer passages are cut at their end
    max_query_tokens: int | None = 256  # tokens; longer queries are cut at their end

    def __post_init__(self) -> None:
        for name in ("max_passage_tokens", "max_query_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"prompt.{name} is {value}, wanted a positive number of tokens or null")
        if self.attention not in ("full", "blocks"):
            raise ValueError(f"prompt.attention is {self.attention!r}, wanted full or blocks")
        if self.query_position < 0 or (self.query_position and not self.in_blocks):
            raise ValueError(
                f"prompt.query_position is {self.query_position}: wanted at least 0, and 0 without attention: blocks"
            )
        if self.label_in_span and self.in_blocks:
            raise ValueError("prompt.label_in_span: with attention: blocks passages have no numbers")

    @property
    def in_blocks(self) -> bool:
        """Whether passages are blind to each other, so that their order means nothing."""
        return self.attention == "blocks"


@dataclass(frozen=True, slots=True)
class Tail:
    """What follows the passages: ids, and the spans of its parts, counted from the tail's own first token."""

    ids: tuple[int, ...]
    instruction: Span
    query: Span
    suffix: Span

    def rows(self, which: str) -> Span:
        """The positions read for `query_rows` = `query` | `instruction` (with the query) | `suffix` (to the end)."""
        if which == "query":
            return self.query
        if which == "instruction":
            return Span(self.instruction.start, self.query.end)
        if which == "suffix":
            return Span(self.instruction.start, self.suffix.end)
        raise ValueError(f"query_rows is {which!r}, wanted 'query', 'instruction' or 'suffix'")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prefix that holds the passages in context order, and its tails: the query's, or those of several queries; then
    the null query's, where there is one.

    With `blocks` [ours] the prefix is an opening and one block for each passage: separator and text, without a number.
    A block attends the opening and itself, all blocks stand at the same positions (after the opening), and the tails,
    which attend everything, after the longest of them or at `query_position`, whichever is later. So the order of
    the passages means nothing, and the states of a block are the same in whatever list it stands.
    """

    prefix: tuple[int, ...]
    passages: tuple[Span, ...]  # indices into the prefix
    tails: tuple[Tail, ...]
    cut: tuple[int, ...] = ()  # which passages (context positions) were cut to `max_passage_tokens`
    query_cut: bool = False  # whether the (first) query was cut to `max_query_tokens`
    blocks: tuple[Span, ...] = ()  # indices into the prefix, one after the other to its end; none: plainly causal
    query_position: int = 0  # tokens after the opening, with blocks
    queries: int = 1  # so many of the tails are of queries

    def __len__(self) -> int:
        """Tokens of prefix and all tails."""
        return sum(self.size)

    @property
    def size(self) -> tuple[int, int]:
        """Tokens of the prefix, tokens of all tails."""
        return len(self.prefix), sum(len(tail.ids) for tail in self.tails)

    @property
    def opening(self) -> int:
        """Tokens before the first block; without blocks the whole prefix."""
        return self.blocks[0].start if self.blocks else len(self.prefix)

    @property
    def tail_position(self) -> int:
        """The position of the tails' first token."""
        return self.opening + max((self.query_position, *(end - start for start, end in self.blocks)))

    def block_ids(self, number: int) -> tuple[int, ...]:
        """The token ids of a block."""
        return self.prefix[slice(*self.blocks[number])]


Encoded: TypeAlias = dict[tuple[str, int | None], Sequence[int]]
"""(text, limit) -> its first `limit + 1` token ids, or all: what a job has tokenised so far."""


class PromptBuilder:
    """Builds prompts for one tokenizer.

    Raises `ValueError` at construction where the tokenizer is not a fast one (`tokenizers`), which the plain-text
    treatment of special tokens needs.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: PromptSettings | None = None) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ValueError(f"{type(tokenizer).__name__} is not a fast tokenizer; wanted one backed by tokenizer.json")
        self.tokenizer = tokenizer
        self.settings = settings or PromptSettings()
        self.layout: Layout = find_layout(self.settings.layout, tokenizer)
        self._text = plain_text_tokenizer(tokenizer)
        s = self.settings
        head = f"{self.layout.head}{s.opening}"
        self._head = tuple(tokenizer(head, add_special_tokens=False)["input_ids"])
        if not self._head and isinstance(tokenizer.bos_token_id, int):
            self._head = (tokenizer.bos_token_id,)
        self._suffix = tuple(tokenizer(self.layout.tail, add_special_tokens=False)["input_ids"])
        self._separator, self._instruction, label, self._null = self._encode(
            [s.separator, s.instruction, s.query_label, f" {s.null_query}"]
        )
        self._label = [*self._separator, *label]

    @property
    def opening(self) -> tuple[int, ...]:
        """The token ids before the first passage."""
        return self._head

    def build(self, query: str, passages: Sequence[str], *, with_null: bool) -> Prompt:
        """One prompt. `passages` in context order; `with_null` adds the null query's tail."""
        return self.build_many([(query, passages)], with_null=with_null)[0]

    def build_many(
        self, lists: Sequence[tuple[str, Sequence[str]]], *, with_null: bool, known: Encoded | None = None
    ) -> list[Prompt]:
        """Prompts for (query, passages in context order), every text tokenised once, in one parallel batch
        for each limit. Of a text that exceeds its limit only the beginning is tokenised, see `truncation`.

        `known` carries the token ids over to the next call of the same job.
        """
        s = self.settings
        most = max((len(passages) for _, passages in lists), default=0)
        labels = self._encode([f"[{i + 1}]" for i in range(most)])
        encoded = {} if known is None else known
        keys = [(_spaced(query), s.max_query_tokens) for query, _ in lists]
        keys += [(_spaced(text), s.max_passage_tokens) for _, passages in lists for text in passages]
        new = [key for key in dict.fromkeys(keys) if key not in encoded]
        for limit in {limit for _, limit in new}:
            texts = [text for text, its_limit in new if its_limit == limit]
            for text, ids in zip(texts, encode_first(self._text, texts, limit), strict=True):
                encoded[text, limit] = array("i", ids)
        null = self._tail(self._null, bare=not s.null_after_instruction)
        prompts = []
        for query, passages in lists:
            prefix = list(self._head)
            spans, blocks, cut = [], [], []
            for number, (label, passage) in enumerate(zip(labels, passages, strict=False)):
                ids = encoded[_spaced(passage), s.max_passage_tokens]
                if s.max_passage_tokens is not None and len(ids) > s.max_passage_tokens:
                    ids = ids[: s.max_passage_tokens]
                    cut.append(number)
                before = len(prefix)
                prefix += self._separator if s.in_blocks else [*self._separator, *label]
                start = before + len(self._separator) if s.label_in_span else len(prefix)
                prefix += ids
                spans.append(Span(start, len(prefix)))
                blocks.append(Span(before, len(prefix)))
            asked = encoded[_spaced(query), s.max_query_tokens]
            tails = (self._tail(asked[: s.max_query_tokens]),)
            query_cut = len(asked) > len(asked[: s.max_query_tokens])
            prompt = Prompt(tuple(prefix), tuple(spans), (*tails, null) if with_null else tails, tuple(cut), query_cut)
            if s.in_blocks:
                prompt = replace(prompt, blocks=tuple(blocks), query_position=s.query_position)
            prompts.append(prompt)
        return prompts

    def show(self, prompt: Prompt) -> str:
        """The assembled prompt as text, every span marked: ⟦passage 1⟧ … ⟦/passage 1⟧ and so on, tail by tail."""
        opens: dict[int, list[str]] = {}
        closes: dict[int, list[str]] = {}
        ids = list(prompt.prefix)
        marks = [(f"passage {i + 1}", span) for i, span in enumerate(prompt.passages)]
        for number, tail in enumerate(prompt.tails):
            name = "query" if number < prompt.queries else "null query"
            for part, span in (("instruction", tail.instruction), (name, tail.query), ("suffix", tail.suffix)):
                marks.append((part, Span(len(ids) + span.start, len(ids) + span.end)))
            ids.extend(tail.ids)
        for name, span in marks:
            if span.start == span.end:  # the instruction of a null query that stands alone
                continue
            opens.setdefault(span.start, []).append(f"⟦{name}⟧")
            closes.setdefault(span.end, []).append(f"⟦/{name}⟧")
        cuts = sorted({0, len(ids), *opens, *closes})
        parts = []
        for start, end in zip(cuts, [*cuts[1:], len(ids)], strict=True):
            parts += [*closes.get(start, []), *opens.get(start, []), str(self.tokenizer.decode(ids[start:end]))]
        return "".join(parts)

    def _tail(self, query: Sequence[int], *, bare: bool = False) -> Tail:
        instruction = () if bare else self._instruction
        label = () if bare else self._label
        start = len(self._separator)
        at = start + len(instruction) + len(label)
        end = at + len(query)
        ids = (*self._separator, *instruction, *label, *query, *self._suffix)
        return Tail(ids, Span(start, start + len(instruction)), Span(at, end), Span(end, len(ids)))

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._text.encode_batch(texts, add_special_tokens=False)]


def _spaced(text: str) -> str:
    # A leading space gives the first word the token it has inside running text; an empty text is this one token.
    return f" {encodable(text).strip()}"


def encodable(text: str) -> str:
    """The text with half surrogate pairs (broken JSON escapes) as U+FFFD: they have no UTF-8 form, which tokenizers
    need."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def plain_text_tokenizer(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """A copy of the tokenizer's backend in which no string is a special or added token.

    `split_special_tokens=True` would leave added tokens that are not marked special (Qwen3's `<think>`) in force;
    here they are split like any other text. Added tokens of white space only (Gemma's runs of newlines) stay.
    """
    specification = json.loads(tokenizer.backend_tokenizer.to_str())
    specification["added_tokens"] = [t for t in specification["added_tokens"] if not t["content"].strip()]
    specification["post_processor"] = None
    specification["truncation"] = specification["padding"] = None
    return Tokenizer.from_str(json.dumps(specification))
