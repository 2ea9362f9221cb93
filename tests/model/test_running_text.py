"""A prompt built piece by piece has the token ids of the same prompt written as one string and tokenised whole."""

import json

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from headrank.model import CHAT_TEMPLATES, PUBLISHED_TEMPLATES, PromptBuilder, PromptSettings, plain_text_tokenizer
from tests.tokenizers import REAL

PASSAGES = [
    "The cat sat.",
    "It's 12:30, naïve",
    '(see above) He said: "Why?"',
    "數学。 Здравствуй, мир!",
    "Costs: $3,000...",
    "A list:\n\n1. one\n2. two",
    "https://example.org/a_b?c=d",
    "x",
    "the end of 1999",
    "C++ and C#",
    "'quoted'",
]
QUERY = "who sat, and when?"
PROMPTS = {
    "default": PromptSettings(),
    **{name: PromptSettings(chat_template=name, opening=" Here are some paragraphs:") for name in PUBLISHED_TEMPLATES},
    "CoRe's labels": PromptSettings(chat_template="core", passage_label="[document {number}]", label_in_span=True),
    "own words": PromptSettings(opening="Passages:", instruction="Find it!", query_label="Question (short):"),
}


def whole(settings: PromptSettings, tokenizer, *, separator: str | None = None) -> list[int]:
    template = PromptBuilder(tokenizer, settings).chat_template
    separator = template.separator if separator is None else separator
    labels = [settings.passage_label.replace("{number}", str(i + 1)) for i in range(len(PASSAGES))]
    parts = [f"{label} {text}" for label, text in zip(labels, PASSAGES, strict=True)]
    content = separator.join([settings.opening, *parts, settings.instruction, f"{settings.query_label} {QUERY}"])
    return tokenizer(f"{template.head}{content}{template.tail}", add_special_tokens=False)["input_ids"]


def built(settings: PromptSettings, tokenizer) -> list[int]:
    prompt = PromptBuilder(tokenizer, settings).build(QUERY, PASSAGES, with_null=True)
    return [*prompt.prefix, *prompt.tails[0].ids]


@pytest.mark.parametrize("wording", PROMPTS)
@pytest.mark.parametrize("name", REAL)
def test_the_ids_are_those_of_running_text(name, wording):
    tokenizer = REAL[name]()
    assert built(PROMPTS[wording], tokenizer) == whole(PROMPTS[wording], tokenizer)


@pytest.mark.parametrize("separator", ["\n\n", "\n", "\n\n\n"])
def test_smollm2_splits_every_separator_of_line_ends_as_running_text_does(separator):
    """Its tokenizer splits the last line end from those before it, but only if a text follows."""
    settings, tokenizer = PromptSettings(separator=separator), REAL["smollm2"]()
    assert built(settings, tokenizer) == whole(settings, tokenizer)


def test_null_tails_are_running_text_too():
    tokenizer = REAL["smollm2"]()
    settings = PromptSettings()
    tail = PromptBuilder(tokenizer, settings).build("q", ["The cat sat."], with_null=True).tails[1]
    text = f"The cat sat. \n\n{settings.instruction} \n\nQuery: N/A{CHAT_TEMPLATES['chatml'].tail}"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert list(tail.ids) == ids[-len(tail.ids) :]


def llama3_like() -> PreTrainedTokenizerFast:
    """Llama 3's splitting of texts, with the merges of its vocabulary that join punctuation, spaces and line ends."""
    alphabet = {symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("Ċ", "Ċ"), ("Ġ", "ĊĊ"), (".", "ĊĊ"), (":", "ĊĊ"), ("Ġ", "Ċ"), ("?", "ĊĊ")]
    vocabulary = dict(alphabet)
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    others = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Split(Regex(f"{words}|{others}"), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])
    return PreTrainedTokenizerFast(tokenizer_object=backend)


@pytest.mark.parametrize("wording", PROMPTS)
def test_the_default_separator_suits_llama_3(wording):
    tokenizer = llama3_like()
    assert PromptBuilder(tokenizer, PROMPTS[wording]).chat_template.separator == " \n\n"
    assert built(PROMPTS[wording], tokenizer) == whole(PROMPTS[wording], tokenizer)
    bare = PromptSettings(separator="\n\n")
    assert built(bare, tokenizer) != whole(bare, tokenizer)  # a full stop merges with it


SENTENCEPIECE = {
    "prepend": (normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None),
    "metaspace": (None, pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)),
    "metaspace, alone": (
        None,
        pre_tokenizers.Sequence([pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]),
    ),
    "prepend alone": (normalizers.Prepend("▁"), None),
    "prefix space": (None, pre_tokenizers.ByteLevel(add_prefix_space=True)),
}


@pytest.mark.parametrize("kind", SENTENCEPIECE)
def test_a_piece_gets_no_space_in_front(kind):
    """SentencePiece's habit, right at the start of a text and wrong in its middle, where all pieces are."""
    normalizer, pre_tokenizer = SENTENCEPIECE[kind]
    alphabet = [*sorted({*"[1]:ab\n ▁", *pre_tokenizers.ByteLevel.alphabet()}), "<unk>"]
    backend = Tokenizer(
        models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[], unk_token="<unk>")
    )
    if normalizer is not None:
        backend.normalizer = normalizer
    if pre_tokenizer is not None:
        backend.pre_tokenizer = pre_tokenizer
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert backend.encode("ab").tokens[0] in ("▁", "Ġ")
    assert plain_text_tokenizer(tokenizer).encode("ab").tokens == ["a", "b"]
    json.loads(tokenizer.backend_tokenizer.to_str())  # the tokenizer itself is as before
    assert backend.encode("ab").tokens[0] in ("▁", "Ġ")
