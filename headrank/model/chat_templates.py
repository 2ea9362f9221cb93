"""Layouts: the text before the passages and after the query, per model family.

Special tokens are recognised only in a layout's strings; passages and queries are plain text. `LAYOUTS` holds chat
templates. `RELEASED` holds the frames of published code, which often differ from the template.
"""

from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from headrank.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Layout:
    """The frame of a prompt: `head` opens the user's turn, `tail` closes it and opens the assistant's.

    The default separator starts with a space. The tokenizers of Qwen3 and Llama 3 merge a full stop with a directly
    following `\\n\\n` into one token, which would belong to no single passage.
    """

    name: str
    head: str
    tail: str
    markers: tuple[str, ...] = ()  # tokens that identify the family: its vocabulary has all of them
    separator: str = " \n\n"  # before each passage, the instruction and the query's label
    rows: str = "suffix"  # the query rows that `query_rows: layout` reads, see `Tail.rows`


_QWEN3 = ("<|im_start|>", "</think>")  # other reasoning models have `</think>` but not ChatML's turns
_CHATML = ("<|im_start|>",)
_LLAMA3 = ("<|start_header_id|>",)
_MISTRAL = ("[INST]",)

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        # Qwen3 without thinking: the template's empty think block ends the prompt. `chatml` has no such block.
        Layout("qwen3", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", _QWEN3),
        Layout("chatml", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", _CHATML),
        Layout(
            "llama3",
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            _LLAMA3,
        ),
        Layout("mistral", "<s>[INST]", "[/INST]", _MISTRAL),
        Layout("gemma", "<bos><start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n", ("<start_of_turn>",)),
        Layout("plain", "", "\n"),
    )
}
"""Chat templates by name, in the order in which they are matched (Qwen3 is ChatML with a think block)."""

_ICR = (
    # For Qwen3 only Selective-ICR's code exists: no think block, and the rows of the query alone.
    Layout("icr_qwen3", LAYOUTS["chatml"].head, LAYOUTS["chatml"].tail, _QWEN3, rows="query"),
    Layout(
        "icr_llama3",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>",
        _LLAMA3,
    ),
    Layout("icr_mistral", "<s>[INST]", "[/INST]", _MISTRAL, separator="\n\n"),
    *(LAYOUTS[name] for name in ("chatml", "gemma", "plain")),  # no released code: use the template
)

RELEASED: dict[str, tuple[Layout, ...]] = {
    "icr": _ICR,
    # QRHead for Qwen: no line break after the roles. Its separator "\n\n" would merge with a passage's full stop.
    "qrhead": (
        Layout("qrhead_qwen", "<|im_start|>user", "<|im_end|>\n<|im_start|>assistant", _CHATML),
        *_ICR[1:3],
        *_ICR[4:],
    ),
    # CoRe reads instruction, query and the token that ends the turn; on Mistral without that token.
    "core": tuple(
        replace(layout, rows="instruction" if layout.markers == _MISTRAL else "end_of_turn") for layout in _ICR
    ),
}
"""Frames of published code: method -> layouts of its model families, in the order in which they are matched."""


def find_layout(name: str, tokenizer: PreTrainedTokenizerBase) -> Layout:
    """The layout with this name. `auto`, `icr`, `qrhead` and `core` take the first whose markers the tokenizer has.

    Raises `ConfigError` for an unknown name.
    """
    check_layout(name)
    if name in LAYOUTS:
        return LAYOUTS[name]
    vocabulary = tokenizer.get_vocab()
    families = RELEASED.get(name, tuple(LAYOUTS.values()))
    return next(layout for layout in families if all(marker in vocabulary for marker in layout.markers))


def check_layout(name: str) -> None:
    """Raise `ConfigError` for an unknown name."""
    known = ("auto", *RELEASED, *LAYOUTS)
    if name not in known:
        raise ConfigError(f"prompt.layout is {name!r}, expected one of {', '.join(known)}")
