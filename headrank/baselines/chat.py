"""Build chat prompts as token ids in which untrusted text (queries, passages) cannot contain special tokens.

The tokenizer's chat template is rendered once with placeholders for the untrusted texts. The parts around the
placeholders, called the frame, are tokenised with special tokens. The texts are tokenised separately without special
tokens and replace the placeholders. So `<|im_end|>` in a passage is plain text, and the frame cannot depend on the
content of a message.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import jinja2
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from headrank.model import plain_text_tokenizer
from headrank.model.plain_text import encode_first
from headrank.surrogates import encodable

Message: TypeAlias = tuple[str, str | None]
"""A role and its text. A text of None is a place for an untrusted text (a query or passage)."""

_OPEN, _CLOSE = "\ue000", "\ue001"  # private-use characters, which templates do not contain


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive tokens of a prompt.

    ids: the token ids.
    plain: whether they are untrusted text, which is tokenised without special tokens.
    """

    ids: tuple[int, ...]
    plain: bool


class ChatEncoder:
    """Encodes chat messages as pieces of token ids.

    Args:
        tokenizer: a fast tokenizer with a chat template.
        thinking: whether thinking is enabled, for chat templates with such a switch.

    Raises `ValueError` if the tokenizer has no chat template or is not a fast tokenizer.
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

        If the template rejects a system message, its text is put before the first user message.

        Args:
            messages: the conversation; a content of None is the place of an untrusted text.

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
        """Encode untrusted texts without special tokens.

        Args:
            texts: the untrusted texts.
            limit: the token limit of a text. Only the first `limit + 1` token ids of each text are returned: one more
                than the limit shows that the text is longer. None: all.

        Returns:
            The token ids of each text.
        """
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
    """Return the token ids of all pieces as one Python list."""
    return [token for piece in pieces for token in piece.ids]


def show(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[Piece]) -> str:
    """Return the prompt of these pieces as text, with untrusted text between ⟦ and ⟧.

    Args:
        tokenizer: decodes the token ids.
        pieces: the pieces of the prompt, in order.
    """
    parts = []
    for piece in pieces:
        text = str(tokenizer.decode(list(piece.ids)))
        parts.append(f"⟦{text}⟧" if piece.plain else text)
    return "".join(parts)
