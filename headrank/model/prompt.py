"""Build prompts from token ids, piece by piece, with the exact span of every passage, instruction and query.

The passages come first (the prefix), followed by one or more tails: the query's and, for calibration, the null query's.
Both tails follow the same prefix. Each passage and each query is tokenised separately; the fixed text between them is
tokenised as a whole. Spans are never searched for in the assembled text, so repeated, nested or hostile texts cannot
confuse them. Special-token strings inside passages and queries are plain text. With the default separator, ordinary
texts get the same ids as if the whole prompt were tokenised as one string.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Annotated, Any, NamedTuple, TypeAlias

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from headrank.errors import ConfigError
from headrank.model.chat_templates import (
    READ_ROWS,
    ChatTemplate,
    ChosenTemplate,
    check_special_tokens,
    find_chat_template,
    tail_ids,
)
from headrank.model.plain_text import encode_first, plain_text_tokenizer, spaced
from headrank.settings import Ge, one_of, settings, wrong

ROWS = (*READ_ROWS, "published")
"""The values of `query_rows`, see `Tail.rows`."""

_NUMBER = "{number}"


class Span(NamedTuple):
    """A range of token positions, from `start` up to but not including `end`."""

    start: int
    end: int


@settings
class PromptSettings:
    """The wording and the limits of a prompt. The default wording is from ICR (arXiv 2410.02642) and QRHead.

    `head`, `tail` and `separator` override the chat template's.
    """

    # auto: the family's | icr | qrhead | core: that of the published code | another known name | a ChatTemplate
    chat_template: ChosenTemplate = "auto"
    head: str | None = None  # before the opening, special tokens included
    tail: str | None = None  # after the query, special tokens included
    opening: str = "Here are some paragraphs:"  # before the first passage
    instruction: str = "Please find information that are relevant to the following query in the paragraphs above."
    query_label: str = "Query:"
    null_query: str = "N/A"  # a query without information, for calibration
    null_after_instruction: bool = True  # False: the null query has no instruction and no label
    separator: str | None = None  # before each passage, the instruction and the query's label
    passage_label: str = "[{number}]"  # {number}: the passage's position in the context, from 1
    label_in_span: bool = False  # True: a passage's label counts as part of it, as in ICR and QRHead
    # full: passages attend to earlier passages | blocks: each passage attends only to the opening and itself
    attention: Annotated[str, one_of(("full", "blocks"))] = "full"
    # blocks: earliest start of queries, in tokens after the opening; see `Prompt`
    query_position: Annotated[int, Ge(0)] = 0
    max_passage_tokens: Annotated[int, Ge(1)] | None = 256  # tokens; longer passages are cut at their end
    max_query_tokens: Annotated[int, Ge(1)] | None = 256  # tokens; longer queries are cut at their end

    def __post_init__(self) -> None:
        if self.passage_label.count(_NUMBER) != 1:
            raise wrong("passage_label", self.passage_label, f"a text that contains {_NUMBER} once")
        if self.query_position and not self.in_blocks:
            raise wrong("query_position", self.query_position, "0, or attention: blocks")
        if self.label_in_span and self.in_blocks:
            raise wrong("label_in_span", True, "false: passages have no labels with attention: blocks")

    @property
    def in_blocks(self) -> bool:
        """Whether passages do not attend to each other, so that their order has no effect."""
        return self.attention == "blocks"


@dataclass(frozen=True, slots=True)
class Tail:
    """The part after the passages: token ids, and the spans of its parts relative to the tail's first token."""

    ids: tuple[int, ...]
    instruction: Span
    query: Span
    suffix: Span
    published_rows: str = "suffix"  # the kind of rows that the chat template's authors read

    def rows(self, kind: str) -> Span:
        """Return the span of the query rows (the tokens whose attention is read), relative to the tail's first token.

        kind: `query`: the query. The others start at the instruction. `instruction`: to the query's end; `end_of_turn`:
            to the suffix's first token; `suffix`: to the tail's end; `published`: those that the template's authors
            read (`published_rows`). Any other kind raises `ConfigError`.
        """
        if kind == "published":
            kind = self.published_rows
        ends = {
            "instruction": self.query.end,
            "end_of_turn": min(self.suffix.start + 1, self.suffix.end),
            "suffix": self.suffix.end,
        }
        if kind == "query":
            return self.query
        if kind not in ends:
            raise ConfigError(f"query_rows is {kind!r}, expected one of {', '.join(ROWS)}")
        return Span(self.instruction.start, ends[kind])


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prefix with the passages in context order, and its tails: one per query, then the null query's, if any.

    With blocks [ours] the prefix is the opening and one block per passage: separator and text, without a label. A block
    attends to the opening and itself. All blocks start at the same position, after the opening. The tails attend to the
    whole prefix and start after the longest block, or `query_position` tokens after the opening if that is later. So
    the order of the passages has no effect, and a block has the same states in every list.
    """

    prefix: tuple[int, ...]
    passages: tuple[Span, ...]  # indices into the prefix
    tails: tuple[Tail, ...]
    cut: tuple[int, ...] = ()  # which passages (context positions) were cut to `max_passage_tokens`
    query_cut: bool = False  # whether the (first) query was cut to `max_query_tokens`
    blocks: tuple[Span, ...] = ()  # indices into the prefix, consecutive up to its end; empty: full causal attention
    query_position: int = 0  # tokens after the opening, with blocks
    queries: int = 1  # number of queries; the first tails are theirs

    def __len__(self) -> int:
        """Return the number of tokens of the prefix and all tails."""
        return sum(self.size)

    @property
    def size(self) -> tuple[int, int]:
        """The two numbers of tokens: of the prefix, and of all tails together."""
        return len(self.prefix), sum(len(tail.ids) for tail in self.tails)

    @property
    def opening(self) -> int:
        """The number of tokens before the first block. Without blocks it is the length of the prefix."""
        return self.blocks[0].start if self.blocks else len(self.prefix)

    @property
    def tail_position(self) -> int:
        """The position of the tails' first token."""
        return self.opening + max((self.query_position, *(end - start for start, end in self.blocks)))

    @property
    def positions(self) -> int:
        """The number of context positions that the prompt takes. All tails start at the same one."""
        return self.tail_position + max(len(tail.ids) for tail in self.tails)

    def block_ids(self, number: int) -> tuple[int, ...]:
        """Return the token ids of block `number`, from 0."""
        return self.prefix[slice(*self.blocks[number])]


Encoded: TypeAlias = dict[tuple[str, int | None], Sequence[int]]
"""The texts that a job has tokenised: (text, limit) -> the text's first `limit + 1` token ids; limit None: all ids."""


class PromptBuilder:
    """Builds prompts for one tokenizer.

    Raises `ValueError` at construction if the tokenizer is not a fast one (`tokenizers`), which is required to treat
    special tokens as plain text, and `ConfigError` if it lacks a special token of the chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: PromptSettings | None = None) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ValueError(
                f"{type(tokenizer).__name__} is not a fast tokenizer; expected one backed by tokenizer.json"
            )
        self.tokenizer = tokenizer
        self.settings = s = settings or PromptSettings()
        replaced: dict[str, Any] = {
            name: value for name in ("head", "tail", "separator") if (value := getattr(s, name)) is not None
        }
        template = find_chat_template(s.chat_template, tokenizer)
        self.chat_template: ChatTemplate = replace(template, **replaced) if replaced else template
        check_special_tokens(self.chat_template, tokenizer)
        self.text_tokenizer = plain_text_tokenizer(tokenizer)
        head = f"{self.chat_template.head}{s.opening}"
        self._head = tuple(tokenizer(head, add_special_tokens=False)["input_ids"])
        if not self._head and isinstance(tokenizer.bos_token_id, int):
            self._head = (tokenizer.bos_token_id,)
        self._suffix = tail_ids(self.chat_template, tokenizer)
        separator = self.chat_template.separator
        frame, (self._separator,), (self._null,) = self._encode_joined(
            [[separator, s.instruction, separator, s.query_label], [separator], [f" {s.null_query}"]]
        )
        self._frame = tuple(frame)

    @property
    def opening(self) -> tuple[int, ...]:
        """The token ids before the first passage."""
        return self._head

    def build(self, query: str, passages: Sequence[str], *, with_null: bool) -> Prompt:
        """Build one prompt. `passages` are texts in context order; `with_null` adds a tail for the null query."""
        return self.build_many([(query, passages)], with_null=with_null)[0]

    def build_many(
        self, lists: Sequence[tuple[str, Sequence[str]]], *, with_null: bool, known: Encoded | None = None
    ) -> list[Prompt]:
        """Build one prompt for each of several lists. Each text is tokenised once, up to its limit.

        lists: a query and its passages in context order, as texts. with_null: whether prompts get a tail for the null
        query. known: token ids of earlier calls, which are reused; new ones are added in place. None: no reuse.
        """
        s = self.settings
        most = max((len(passages) for _, passages in lists), default=0)
        labels = self._labels(0 if s.in_blocks else most)
        encoded = {} if known is None else known
        keys = [(spaced(query), s.max_query_tokens) for query, _ in lists]
        keys += [(spaced(text), s.max_passage_tokens) for _, passages in lists for text in passages]
        new = [key for key in dict.fromkeys(keys) if key not in encoded]
        for limit in {limit for _, limit in new}:
            texts = [text for text, text_limit in new if text_limit == limit]
            for text, ids in zip(texts, encode_first(self.text_tokenizer, texts, limit), strict=True):
                encoded[text, limit] = array("i", ids)
        null = self._tail(self._null, bare=not s.null_after_instruction)
        prompts = []
        for query, passages in lists:
            prefix = list(self._head)
            spans, blocks, cut = [], [], []
            for number, passage in enumerate(passages):
                separator, label = (self._separator, []) if s.in_blocks else labels[number]
                ids = encoded[spaced(passage), s.max_passage_tokens]
                if s.max_passage_tokens is not None and len(ids) > s.max_passage_tokens:
                    ids = ids[: s.max_passage_tokens]
                    cut.append(number)
                before = len(prefix)
                prefix += [*separator, *label]
                start = before + len(separator) if s.label_in_span else len(prefix)
                prefix += ids
                spans.append(Span(start, len(prefix)))
                blocks.append(Span(before, len(prefix)))
            asked = encoded[spaced(query), s.max_query_tokens]
            tails = (self._tail(asked[: s.max_query_tokens]),)
            query_cut = len(asked) > len(asked[: s.max_query_tokens])
            prompt = Prompt(tuple(prefix), tuple(spans), (*tails, null) if with_null else tails, tuple(cut), query_cut)
            if s.in_blocks:
                prompt = replace(prompt, blocks=tuple(blocks), query_position=s.query_position)
            prompts.append(prompt)
        return prompts

    def show(self, prompt: Prompt) -> str:
        """Return the prompt as text: the prefix, then tail by tail, with marked spans: ⟦passage 1⟧ … ⟦/passage 1⟧."""
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
            if span.start == span.end:  # a null query without instruction
                continue
            opens.setdefault(span.start, []).append(f"⟦{name}⟧")
            closes.setdefault(span.end, []).append(f"⟦/{name}⟧")
        cuts = sorted({0, len(ids), *opens, *closes})
        parts = []
        for start, end in zip(cuts, [*cuts[1:], len(ids)], strict=True):
            parts += [*closes.get(start, []), *opens.get(start, []), str(self.tokenizer.decode(ids[start:end]))]
        return "".join(parts)

    def _labels(self, count: int) -> list[list[list[int]]]:
        """Separator and label of each context position."""
        wording = (self.settings.passage_label.replace(_NUMBER, str(i + 1)) for i in range(count))
        return self._encode_joined([[self.chat_template.separator, label] for label in wording])

    def _tail(self, query: Sequence[int], *, bare: bool = False) -> Tail:
        parts = [self._separator, [], [], []] if bare else self._frame
        start, instruction_end, _, at = accumulate(len(part) for part in parts)
        end = at + len(query)
        ids = (*(i for part in parts for i in part), *query, *self._suffix)
        rows = self.chat_template.query_rows
        return Tail(ids, Span(start, instruction_end), Span(at, end), Span(end, len(ids)), rows)

    def _encode_joined(self, texts: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """The ids of each text's parts, tokenised jointly. A token across a border belongs to the later part."""
        encodings = self.text_tokenizer.encode_batch(["".join(parts) for parts in texts], add_special_tokens=False)
        split = []
        for parts, encoding in zip(texts, encodings, strict=True):
            borders = list(accumulate(len(part) for part in parts))[:-1]
            cuts = [sum(end <= border for _, end in encoding.offsets) for border in borders]
            split.append([encoding.ids[a:b] for a, b in pairwise([0, *cuts, len(encoding.ids)])])
        return split
