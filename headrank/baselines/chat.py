"""Builds chat prompts as token ids, with untrusted text kept free of special tokens.

The tokenizer's chat template is rendered once with placeholders for the texts. The parts between placeholders form the
frame, tokenised with special tokens. Texts are tokenised separately without special tokens and replace the
placeholders, so `<|im_end|>` in a passage is plain text, and the template cannot depend on a message's content.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import jinja2
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from headrank.model import plain_text_tokenizer
from headrank.model.plain_text import encodable, encode_first

Message: TypeAlias = tuple[str, str | None]
"""A role and its text, or None for an untrusted text (a query or passage) that is inserted later."""

_OPEN, _CLOSE = "\ue000", "\ue001"  # private-use characters, which templates do not contain


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive tokens of a prompt; `plain` marks untrusted text, which is tokenised without special tokens."""

    ids: tuple[int, ...]
    plain: bool


class ChatEncoder:
    """Encodes chat messages as pieces.

    Raises `ValueError` at construction if the tokenizer has no chat template or is not a fast tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, thinking: bool = False) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ValueError(f"expected a fast tokenizer (tokenizer.json), found {type(tokenizer).__name__}")
        if not tokenizer.chat_template:
            raise ValueError("the tokenizer has no chat template; expected a chat model")
        self.tokenizer = tokenizer
        self.thinking = thinking
        self._plain = plain_text_tokenizer(tokenizer)

    def frame(self, messages: Sequence[Message]) -> list[Piece]:
        """Encode the parts of the prompt around the untrusted texts.

        If the template rejects a system message, it is put before the first user message.

        Args:
            messages: the conversation; a text of None is a place for an untrusted text.

        Returns:
            The part before, between and after the untrusted texts: one piece more than there are untrusted texts.

        Raises:
            ValueError: the template omits or reorders messages.
        """
        try:
            text = self._render(messages)
        except jinja2.TemplateError:
            if messages[0][0] != "system":
                raise
            text = self._render(messages[1:], system=messages[0][1])
        parts, untrusted = [], sum(content is None for _, content in messages)
        for number in range(untrusted):
            before, mark, text = text.partition(f"{_OPEN}{number}{_CLOSE}")
            if not mark:
                raise ValueError(
                    "expected all messages in order, found a chat template that omits or reorders messages; use "
                    "another chat model"
                )
            parts.append(before)
        return [Piece(tuple(self._special(part)), plain=False) for part in (*parts, text)]

    def texts(self, texts: Sequence[str], limit: int | None = None) -> list[tuple[int, ...]]:
        """The token ids of untrusted texts (the first `limit + 1` of each, or all), without special tokens."""
        return [tuple(ids) for ids in encode_first(self._plain, [encodable(text) for text in texts], limit)]

    def _render(self, messages: Sequence[Message], system: str | None = None) -> str:
        conversation, untrusted = [], 0
        for role, content in messages:
            if content is None:
                content, untrusted = f"{_OPEN}{untrusted}{_CLOSE}", untrusted + 1
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
    """The token ids of the prompt."""
    return [token for piece in pieces for token in piece.ids]


def show(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[Piece]) -> str:
    """The prompt as text, with untrusted text between ⟦ and ⟧."""
    parts = []
    for piece in pieces:
        text = str(tokenizer.decode(list(piece.ids)))
        parts.append(f"⟦{text}⟧" if piece.plain else text)
    return "".join(parts)
