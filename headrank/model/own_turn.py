"""Read the user's turn that a tokenizer's own chat template writes.

    head, tail = read_own_turn(tokenizer)

The template is Jinja code of the model's repository; transformers renders it in a sandbox.
"""

import re
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

CONTENT = "HEADRANK-CONTENT"
"""The user's text in the rendered conversation."""

_DATES = {
    "%Y": "2025",
    "%y": "25",
    "%m": "01",
    "%d": "01",
    "%B": "January",
    "%b": "Jan",
    "%A": "Wednesday",
    "%a": "Wed",
}
_REPLACED = "".join(f".replace('{code}', '{value}')" for code, value in _DATES.items())
_TODAY = f"{{% macro strftime_now(format) %}}{{{{ format{_REPLACED} }}}}{{% endmacro %}}\n"
"""Jinja code that replaces transformers' `strftime_now`, so that a system turn with the date is the same every day."""

_FIRST = re.compile(r"<s>|<bos>|<\|begin_of_text\|>")


class OwnTurn(NamedTuple):
    """The text before and after the user's text. A default system turn is part of `head`."""

    head: str
    tail: str

    def is_like(self, head: str, tail: str) -> bool:
        """Return whether a template with this head and tail writes the same turn.

        The following differences are ignored: a BOS token at the start of `head`, text before it in this turn (such as
        a default system turn), white space at the end of the heads and around the tails, and everything from `<think>`
        on.
        """
        opening = head[len(found[0]) :] if (found := _FIRST.match(head)) else head
        return self.head.rstrip().endswith(opening.rstrip()) and _closing(self.tail) == _closing(tail)


def read_own_turn(tokenizer: PreTrainedTokenizerBase) -> OwnTurn | None:
    """Render one user message without thinking, and split it at the user's text.

    A template that prints today's date gets 1 January 2025, so that the turn is the same every day. If the template
    leaves a think block open (some models cannot switch thinking off), the block is closed empty.

    Returns:
        The turn; None if the tokenizer has no chat template or the template adds nothing to the text.

    Raises:
        ValueError: the template cannot be rendered, or does not contain the user's text exactly once.
    """
    if not tokenizer.chat_template:
        return None
    options: dict[str, Any] = {"enable_thinking": False, "thinking": False}  # of most models that think
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": CONTENT}],
            chat_template=_TODAY + tokenizer.get_chat_template(),
            add_generation_prompt=True,
            tokenize=False,
            **options,
        )
    except Exception as error:  # the template is foreign code, which raises errors of several kinds
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"the model's own chat template cannot write a user's turn ({reason})") from error
    head, *tails = str(text).split(CONTENT)
    if len(tails) != 1:
        raise ValueError(
            f"expected a chat template that writes the user's text once; the model's own writes it {len(tails)} times"
        )
    tail = tails[0]
    if tail.rstrip().endswith("<think>"):
        tail = f"{tail.rstrip()}\n\n</think>\n\n"
    return OwnTurn(head, tail) if (head + tail).strip() else None


def _closing(tail: str) -> str:
    return tail.split("<think>")[0].strip()
