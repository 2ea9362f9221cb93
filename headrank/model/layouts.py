"""Chat layouts: what stands before the passages and after the query for each family of models.

A layout's strings are the only text in a prompt whose special tokens are special; passages and queries are plain text.
"""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Layout:
    """The frame of a prompt: `head` opens the user's turn, `tail` closes it and opens the assistant's."""

    name: str
    head: str
    tail: str
    markers: tuple[str, ...] = ()  # tokens by which the family is recognised: its vocabulary has all of them


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        # Qwen3 with thinking switched off: the template's own empty think block ends the prompt.
        # Other families distilled to reason have `</think>` too, without ChatML's turns.
        Layout(
            "qwen3",
            "<|im_start|>user\n",
            "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
            ("<|im_start|>", "</think>"),
        ),
        Layout("chatml", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", ("<|im_start|>",)),
        Layout(
            "llama3",
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            ("<|start_header_id|>",),
        ),
        Layout("mistral", "<s>[INST]", "[/INST]", ("[INST]",)),
        Layout("gemma", "<bos><start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n", ("<start_of_turn>",)),
        Layout("plain", "", "\n"),
    )
}
"""Known layouts by name, in the order in which they are recognised (Qwen3 is ChatML with a think block)."""


def find_layout(name: str, tokenizer: PreTrainedTokenizerBase) -> Layout:
    """The layout of that name, or for `auto` the first whose markers the tokenizer knows, else `plain`.

    Raises `ValueError` for a name that is not known.
    """
    if name == "auto":
        vocabulary = tokenizer.get_vocab()
        for layout in LAYOUTS.values():
            if layout.markers and all(marker in vocabulary for marker in layout.markers):
                return layout
        return LAYOUTS["plain"]
    if name not in LAYOUTS:
        raise ValueError(f"prompt layout {name!r} is not known; wanted 'auto' or one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
