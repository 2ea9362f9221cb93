"""Plain-text tokenisation: no special tokens, and no space before a text."""

import json
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast


def encodable(text: str) -> str:
    """Replace lone surrogates (from broken JSON escapes) by U+FFFD; tokenizers need text that UTF-8 can encode."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def plain_text_tokenizer(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """Copy the tokenizer's backend without special or added tokens and without the leading space.

    `split_special_tokens=True` would keep added tokens that are not marked special (Qwen3's `<think>`); here they are
    split like any other text. Added tokens of white space only (Gemma's runs of newlines) stay. SentencePiece puts a
    space before a text; the pieces of a prompt follow other text, so they get none.
    """
    specification = json.loads(tokenizer.backend_tokenizer.to_str())
    specification["added_tokens"] = [t for t in specification["added_tokens"] if not t["content"].strip()]
    specification["post_processor"] = None
    specification["truncation"] = specification["padding"] = None
    for name in ("normalizer", "pre_tokenizer"):
        specification[name] = _without_prefix_space(specification[name])
    return Tokenizer.from_str(json.dumps(specification))


def _without_prefix_space(step: dict[str, Any] | None) -> dict[str, Any] | None:
    """The normalizer or pre-tokenizer without its leading space; None if nothing else remains."""
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
