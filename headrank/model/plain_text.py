"""Texts as plain text: a tokenizer that knows no special tokens and puts no space before a text."""

import json
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast


def encodable(text: str) -> str:
    """The text with half surrogate pairs (broken JSON escapes) as U+FFFD: tokenizers need UTF-8, in which they have no
    form."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def plain_text_tokenizer(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """A copy of the tokenizer's backend in which no string is a special or added token and no text gets a space.

    `split_special_tokens=True` would leave added tokens that are not marked special (Qwen3's `<think>`) in force;
    here they are split like any other text. Added tokens of white space only (Gemma's runs of newlines) stay.
    SentencePiece puts a space before a text; the pieces of a prompt follow other text and get none.
    """
    specification = json.loads(tokenizer.backend_tokenizer.to_str())
    specification["added_tokens"] = [t for t in specification["added_tokens"] if not t["content"].strip()]
    specification["post_processor"] = None
    specification["truncation"] = specification["padding"] = None
    for name in ("normalizer", "pre_tokenizer"):
        specification[name] = _without_prefix_space(specification[name])
    return Tokenizer.from_str(json.dumps(specification))


def _without_prefix_space(step: dict[str, Any] | None) -> dict[str, Any] | None:
    """A normalizer or pre-tokenizer that puts no space before a text; None if nothing else is left of it."""
    if step is None or step["type"] == "Prepend":
        return None
    step = dict(step)
    for inner in ("normalizers", "pretokenizers"):
        if inner in step:
            step[inner] = [kept for part in step[inner] if (kept := _without_prefix_space(part)) is not None]
    if step["type"] == "Metaspace":
        step["prepend_scheme"] = "never"
    if step["type"] == "ByteLevel":
        step["add_prefix_space"] = False
    return step
