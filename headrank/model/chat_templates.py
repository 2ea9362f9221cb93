"""Define and choose chat templates: the text before the passages and after the query.

Special tokens are recognised only in a template's strings; passages and queries are plain text. `CHAT_TEMPLATES` holds
the model families' templates. `PUBLISHED_TEMPLATES` holds those of published code, which often differ. Any other model
gets the turn that its tokenizer's own chat template writes (`headrank.model.own_turn`).
"""

import functools
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import PlainValidator
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from headrank.errors import ConfigError
from headrank.model.own_turn import read_own_turn
from headrank.settings import Listed, SettingsError, meant, one_of, settings, wrong

logger = logging.getLogger(__name__)

READ_ROWS = ("query", "instruction", "end_of_turn", "suffix")
"""The kinds of query rows, see `Tail.rows`."""

_SPECIAL = re.compile(r"<[|｜][^\s<>|｜]+[|｜]>|</?(?:s|bos|eos)>|<(?:start|end)_of_\w+>")
"""Text that is a special token in every published template that contains it."""


@settings
class ChatTemplate:
    """The text around a prompt: `head` opens the user's turn, `tail` closes it and opens the assistant's.

    The default separator starts with a space. The tokenizers of Qwen3 and Llama 3 merge a full stop with a directly
    following `\\n\\n` into one token, which would belong to no single passage.
    """

    name: str
    head: str
    tail: str
    markers: Listed[str] = ()  # `auto` considers the template if the vocabulary has all of these tokens
    separator: str = " \n\n"  # before each passage, the instruction and the query's label
    query_rows: Annotated[str, one_of(READ_ROWS)] = "suffix"  # the rows that `query_rows: published` reads


_QWEN3 = ("<|im_start|>", "</think>")  # other reasoning models have `</think>` but not ChatML's turns
_CHATML = ("<|im_start|>",)
_LLAMA3 = ("<|start_header_id|>",)
_MISTRAL = ("[INST]",)

CHAT_TEMPLATES: dict[str, ChatTemplate] = {
    template.name: template
    for template in (
        ChatTemplate(
            "phi4", "<|im_start|>user<|im_sep|>", "<|im_end|><|im_start|>assistant<|im_sep|>", ("<|im_sep|>",)
        ),
        # Qwen3 without thinking: the template's empty think block ends the prompt. `chatml` has no such block.
        ChatTemplate(
            "qwen3", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", _QWEN3
        ),
        ChatTemplate("chatml", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", _CHATML),
        ChatTemplate(
            "llama3",
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            _LLAMA3,
        ),
        ChatTemplate("mistral", "<s>[INST]", "[/INST]", _MISTRAL),
        ChatTemplate(
            "gemma", "<bos><start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n", ("<start_of_turn>",)
        ),
        ChatTemplate(
            "granite",
            "<|start_of_role|>user<|end_of_role|>",
            "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
            ("<|start_of_role|>",),
        ),
        # Phi-3 and 3.5. Phi-4-mini has the same turn tokens, but no placeholders, and writes no line breaks.
        ChatTemplate("phi3", "<|user|>\n", "<|end|>\n<|assistant|>\n", ("<|user|>", "<|end|>", "<|placeholder1|>")),
        ChatTemplate("plain", "", "\n"),
    )
}
"""Chat templates by name, in the order in which they are matched (Phi-4 and Qwen3 have ChatML's tokens and others)."""

_ICR = (
    # For Qwen3 only Selective-ICR's code exists: no think block, and the rows of the query alone.
    ChatTemplate("icr_qwen3", CHAT_TEMPLATES["chatml"].head, CHAT_TEMPLATES["chatml"].tail, _QWEN3, query_rows="query"),
    ChatTemplate(
        "icr_llama3",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>",
        _LLAMA3,
    ),
    ChatTemplate("icr_mistral", "<s>[INST]", "[/INST]", _MISTRAL, separator="\n\n"),
    *(CHAT_TEMPLATES[name] for name in ("chatml", "gemma", "plain")),  # no released code: use the template
)

PUBLISHED_TEMPLATES: dict[str, tuple[ChatTemplate, ...]] = {
    "icr": _ICR,
    # QRHead for Qwen: no line break after the roles. Its separator "\n\n" would merge with a passage's full stop.
    "qrhead": (
        ChatTemplate("qrhead_qwen", "<|im_start|>user", "<|im_end|>\n<|im_start|>assistant", _CHATML),
        *_ICR[1:3],
        *_ICR[4:],
    ),
    # CoRe reads instruction, query and the token that ends the turn; on Mistral without that token.
    "core": tuple(replace(one, query_rows="instruction" if one.markers == _MISTRAL else "end_of_turn") for one in _ICR),
}
"""Templates of published code: method -> one per model family, in the order in which they are matched.

A family without one has the template of `auto` with the query rows of the last, `plain`."""


_NAMES = ("auto", *PUBLISHED_TEMPLATES, *CHAT_TEMPLATES)


def _chosen(value: Any) -> str | ChatTemplate:
    """A template, or the fields of one, or the name of a known one."""
    if isinstance(value, Mapping):
        try:
            return ChatTemplate(**value)
        except SettingsError as error:
            raise error.under("") from None
    if isinstance(value, str) and value not in _NAMES:
        raise wrong("", value, f"one of {', '.join(_NAMES)}, or a ChatTemplate{meant(value, _NAMES)}")
    if not isinstance(value, str | ChatTemplate):
        raise wrong("", value, "a name or a ChatTemplate")
    return value


ChosenTemplate = Annotated[str | ChatTemplate, PlainValidator(_chosen)]
"""A setting: `auto`, `icr`, `qrhead`, `core`, the name of one of `CHAT_TEMPLATES`, or a template."""


def find_chat_template(chosen: str | ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """Find the chat template that the setting `prompt.chat_template` chooses for this tokenizer.

    - A template, or a name in `CHAT_TEMPLATES`: this template.
    - `auto`: the first template of `CHAT_TEMPLATES` whose markers are in the vocabulary, and whose turn is the one that
      the tokenizer's own chat template writes, if it has one (apart from spaces around it, a system turn and think
      blocks). If none fits: the tokenizer's turn, under the name `own`.
    - `icr`, `qrhead`, `core`: the template of the published code for the model family that `auto` finds.

    A warning is logged if the tokenizer's chat template cannot be read, or if it writes no think block but the family's
    does.

    Args:
        chosen: the setting.
        tokenizer: the model's tokenizer.
    """
    if isinstance(chosen, ChatTemplate):
        return chosen
    if chosen in CHAT_TEMPLATES:
        return CHAT_TEMPLATES[chosen]
    family = _family(tokenizer)
    if chosen not in PUBLISHED_TEMPLATES:
        return family
    published = PUBLISHED_TEMPLATES[chosen]
    others = replace(family, query_rows=published[-1].query_rows)
    return next((one for one in published if one.markers and {*one.markers} <= {*family.markers}), others)


def _family(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """The first family that fits the tokenizer, or its own turn."""
    vocabulary = tokenizer.get_vocab()
    families = [one for one in CHAT_TEMPLATES.values() if all(marker in vocabulary for marker in one.markers)]
    try:
        own = read_own_turn(tokenizer)
    except ValueError as error:
        _warn(f"{error}; the prompt has the template {families[0].name!r}. Set prompt.chat_template to choose another")
        own = None
    if own is None:
        return families[0]
    for family in families:
        if family.markers and own.is_like(family.head, family.tail):
            if "<think>" in family.tail and "<think>" not in own.tail:
                _warn(
                    f"the model's own chat template writes no think block, and {family.name!r} ends the prompt with an "
                    "empty one. If the model does not think, set prompt.chat_template=chatml"
                )
            return family
    logger.info("prompt.chat_template: the turn that the model's own chat template writes, %r ... %r", *own)
    return ChatTemplate("own", *own)


@functools.cache  # builders of one model repeat it
def _warn(message: str) -> None:
    logger.warning("prompt.chat_template: %s", message)


def tail_ids(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the token ids of the template's tail.

    SentencePiece adds a space before a text. So a tail that starts with a space is tokenised after a letter, whose
    tokens are removed.
    """
    before = "a" if template.tail.startswith(" ") else ""
    texts = (before + template.tail, before)
    ids, others = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)
    return tuple(ids[len(others) :])


def check_special_tokens(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `ConfigError` if head or tail has a special token that the vocabulary lacks, or the separator has any.

    A token that the vocabulary lacks is accepted in head and tail if the tokenizer's own chat template contains it: it
    is plain text there (OLMo 2's `<|user|>`).
    """
    vocabulary = tokenizer.get_vocab()
    for part in ("head", "tail", "separator"):
        for token in _SPECIAL.findall(getattr(template, part)):
            expected = "no special tokens: it is plain text" if part == "separator" else ""
            if token not in vocabulary and (part == "separator" or token not in str(tokenizer.chat_template)):
                special = [one for one in vocabulary if one[:1] + one[-1:] == "<>"]
                expected = f"special tokens of the model's tokenizer{meant(token, special)}"
            if expected:
                raise ConfigError(
                    f"prompt.chat_template ({template.name}): its {part} contains {token!r}, expected {expected}"
                )


def check_embeddings(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Raise `ConfigError` if the model has no embedding for a token of the template.

    Args:
        template: the template.
        tokenizer: the model's tokenizer.
        config: the model's configuration, which has the number of embeddings.
    """
    rows = int(config.get_text_config(decoder=True).vocab_size)
    for part in ("head", "tail", "separator"):
        for i in tokenizer(getattr(template, part), add_special_tokens=False)["input_ids"]:
            if i >= rows:
                token = tokenizer.convert_ids_to_tokens(i)
                raise ConfigError(
                    f"prompt.chat_template ({template.name}): its {part} contains {token!r} = {i}; expected tokens "
                    f"with an embedding, and the model has {rows}"
                )
