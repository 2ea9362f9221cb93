"""Chat prompts as token ids, with foreign text kept plain.

The tokenizer's own chat template is rendered once with placeholders; what stands between them is the frame, whose
special tokens are special. Texts are tokenised apart, with no special tokens in force, and put in the placeholders'
stead: `<|im_end|>` in a passage is text, and a template that looks at a message's content sees nothing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import jinja2
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from headrank.model import plain_text_tokenizer
from headrank.model.plain_text import encodable, encode_first

Message: TypeAlias = tuple[str, str | None]
"""A role and a text of our own, or None for a foreign text that comes later."""

_OPEN, _CLOSE = "\ue000", "\ue001"  # private use: in no template


@dataclass(frozen=True, slots=True)
class Piece:
    """Some tokens of a prompt; `plain` where they are foreign text."""

    ids: tuple[int, ...]
    plain: bool


class ChatEncoder:
    """Turns messages into pieces for one tokenizer.

    Raises `ValueError` at construction if the tokenizer has no chat template or is not a fast one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, thinking: bool = False) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ValueError(f"{type(tokenizer).__name__} is no fast tokenizer; expected one backed by tokenizer.json")
        if not tokenizer.chat_template:
            raise ValueError("the tokenizer has no chat template: expected a model that was made for chats")
        self.tokenizer = tokenizer
        self.thinking = thinking
        self._plain = plain_text_tokenizer(tokenizer)

    def frame(self, messages: Sequence[Message]) -> list[Piece]:
        """The template's text around the foreign texts: one piece more than there are foreign texts.

        Where the template refuses a system message, it stands before the first user's text.
        """
        try:
            text = self._render(messages)
        except jinja2.TemplateError:
            if messages[0][0] != "system":
                raise
            text = self._render(messages[1:], system=messages[0][1])
        parts, foreign = [], sum(content is None for _, content in messages)
        for number in range(foreign):
            before, mark, text = text.partition(f"{_OPEN}{number}{_CLOSE}")
            if not mark:
                raise ValueError("the tokenizer's chat template leaves out a message or changes their order")
            parts.append(before)
        return [Piece(tuple(self._special(part)), plain=False) for part in (*parts, text)]

    def texts(self, texts: Sequence[str], limit: int | None = None) -> list[tuple[int, ...]]:
        """The ids of foreign texts (the first `limit + 1`, or all), with no special tokens in force."""
        return [tuple(ids) for ids in encode_first(self._plain, [encodable(text) for text in texts], limit)]

    def _render(self, messages: Sequence[Message], system: str | None = None) -> str:
        conversation, foreign = [], 0
        for role, content in messages:
            if content is None:
                content, foreign = f"{_OPEN}{foreign}{_CLOSE}", foreign + 1
            if system is not None and role == "user":
                content, system = f"{system}\n\n{content}", None
            conversation.append({"role": role, "content": content})
        return str(
            self.tokenizer.apply_chat_template(
                conversation, tokenize=False, add_generation_prompt=True, enable_thinking=self.thinking
            )
        )

    def _special(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def join(pieces: Sequence[Piece]) -> list[int]:
    """The prompt's ids."""
    return [token for piece in pieces for token in piece.ids]


def show(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[Piece]) -> str:
    """The prompt as text; foreign text, in which nothing is special, stands between ⟦ and ⟧."""
    parts = []
    for piece in pieces:
        text = str(tokenizer.decode(list(piece.ids)))
        parts.append(f"⟦{text}⟧" if piece.plain else text)
    return "".join(parts)
