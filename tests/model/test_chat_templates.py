"""Chat templates: found by the vocabulary, named, or given; special tokens that the model lacks are refused."""

import dataclasses
import re
from dataclasses import replace

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from headrank.errors import ConfigError
from headrank.model import CHAT_TEMPLATES, PUBLISHED_TEMPLATES, ChatTemplate, PromptBuilder, PromptSettings, Span
from tests.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def decode(ids, span: Span) -> str:
    return str(TOKENIZER.decode(list(ids[span.start : span.end])))


def tokenizer_with(*special: str, **options) -> PreTrainedTokenizerFast:
    alphabet = {symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(special))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **options)


@pytest.mark.parametrize(
    ("special", "name"),
    [
        (["<|im_start|>", "<|im_end|>", "<think>", "</think>"], "qwen3"),
        (["<|im_start|>", "<|im_end|>"], "chatml"),
        (["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "llama3"),
        (["<s>", "[INST]", "[/INST]"], "mistral"),
        (["<bos>", "<start_of_turn>", "<end_of_turn>"], "gemma"),
        (["<|im_start|>", "<|im_sep|>", "<|im_end|>", "<think>", "</think>"], "phi4"),
        (["<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"], "granite"),
        (["<|user|>", "<|end|>", "<|assistant|>", "<|placeholder1|>"], "phi3"),
        (["<|user|>", "<|end|>", "<|assistant|>"], "plain"),  # several families have these
        (["<|endoftext|>"], "plain"),
        # Distilled reasoning models: a think block, but not Qwen3's turns.
        (["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "</think>"], "llama3"),
        (["<think>", "</think>"], "plain"),
    ],
)
def test_chat_templates_are_found_by_what_the_vocabulary_holds(special, name):
    tokenizer = tokenizer_with(*special)
    builder = PromptBuilder(tokenizer)
    assert builder.chat_template is CHAT_TEMPLATES[name]
    prompt = builder.build("q", ["a"], with_null=False)
    added = set(tokenizer.get_added_vocab().values())
    frame = [i for i in (*prompt.prefix, *prompt.tails[0].ids) if i in added]
    text = CHAT_TEMPLATES[name].head + CHAT_TEMPLATES[name].tail
    expected = re.findall("|".join(map(re.escape, special)), text)
    assert [str(tokenizer.decode([i])) for i in frame] == expected  # each is one token, in the template's order
    whole = str(tokenizer.decode([*prompt.prefix, *prompt.tails[0].ids]))
    assert whole.startswith(CHAT_TEMPLATES[name].head)
    assert whole.endswith(CHAT_TEMPLATES[name].tail)


QWEN3 = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
LLAMA3 = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
MISTRAL = ["<s>", "[INST]", "[/INST]"]
LLAMA3_FRAME = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>",
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>",
)
CHATML_FRAME = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("method", "special", "frame", "separator", "rows"),
    [
        ("icr", QWEN3, CHATML_FRAME, " \n\n", "query"),
        ("icr", QWEN3[:2], CHATML_FRAME, " \n\n", "suffix"),
        ("icr", LLAMA3, LLAMA3_FRAME, " \n\n", "suffix"),
        ("icr", MISTRAL, ("<s>[INST]", "[/INST]"), "\n\n", "suffix"),
        ("qrhead", QWEN3, ("<|im_start|>user", "<|im_end|>\n<|im_start|>assistant"), " \n\n", "suffix"),
        ("qrhead", QWEN3[:2], ("<|im_start|>user", "<|im_end|>\n<|im_start|>assistant"), " \n\n", "suffix"),
        ("qrhead", LLAMA3, LLAMA3_FRAME, " \n\n", "suffix"),
        ("core", QWEN3, CHATML_FRAME, " \n\n", "end_of_turn"),
        ("core", LLAMA3, LLAMA3_FRAME, " \n\n", "end_of_turn"),
        ("core", MISTRAL, ("<s>[INST]", "[/INST]"), "\n\n", "instruction"),
    ],
)
def test_the_frames_of_released_code(method, special, frame, separator, rows):
    builder = PromptBuilder(tokenizer_with(*special), PromptSettings(chat_template=method))
    template = builder.chat_template
    assert template in PUBLISHED_TEMPLATES[method]
    assert (template.head, template.tail, template.separator, template.query_rows) == (*frame, separator, rows)
    tail = builder.build("q", ["a"], with_null=False).tails[0]
    assert tail.rows("published") == tail.rows(rows)


@pytest.mark.parametrize("method", ["auto", *PUBLISHED_TEMPLATES])
def test_every_tokenizer_finds_a_frame(method):
    """A vocabulary without chat tokens gets the plain one."""
    assert PromptBuilder(tokenizer_with("<eos>"), PromptSettings(chat_template=method)).chat_template.name == "plain"


def test_a_chat_template_can_be_named():
    builder = PromptBuilder(TOKENIZER, PromptSettings(chat_template="chatml"))
    tail = builder.build("q", ["a"], with_null=False).tails[0]
    assert decode(tail.ids, tail.suffix) == "<|im_end|>\n<|im_start|>assistant\n"


MINE = ChatTemplate("mine", "<|im_start|>", "<|im_end|>", separator=" | ", query_rows="query")


@pytest.mark.parametrize("chosen", [MINE, dataclasses.asdict(MINE)], ids=["template", "fields"])
def test_a_chat_template_can_be_given(chosen):
    settings = PromptSettings(chat_template=chosen, opening="Read:", instruction="Find:")
    assert settings.chat_template == MINE
    prompt = PromptBuilder(TOKENIZER, settings).build("why?", ["a"], with_null=False)
    ids = [*prompt.prefix, *prompt.tails[0].ids]
    assert TOKENIZER.decode(ids) == "<|im_start|>Read: | [1] a | Find: | Query: why?<|im_end|>"
    assert prompt.tails[0].rows("published") == prompt.tails[0].query


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"head": 3}, "chat_template.head is 3"),
        ({"query_rows": "published"}, "chat_template.query_rows is 'published'"),
        ({"tails": ""}, "chat_template.tails"),
    ],
)
def test_wrong_fields_of_a_chat_template_are_named(fields, found):
    with pytest.raises(ConfigError, match=re.escape(found)):
        PromptSettings(chat_template={**dataclasses.asdict(MINE), **fields})


@pytest.mark.parametrize(
    ("settings", "token"),
    [
        (PromptSettings(chat_template="llama3"), "<|begin_of_text|>"),
        (PromptSettings(chat_template=replace(MINE, tail="a<|im_ends|>b")), "<|im_ends|>"),
        (PromptSettings(chat_template=replace(MINE, tail="<end_of_turn>")), "<end_of_turn>"),
        (PromptSettings(head="<s>"), "<s>"),
        (PromptSettings(separator="<|im_end|>"), "<|im_end|>"),  # known, but a separator is plain text
    ],
)
def test_special_tokens_that_would_be_plain_text_are_refused(settings, token):
    with pytest.raises(ConfigError, match=re.escape(token)):
        PromptBuilder(TOKENIZER, settings)


def test_the_frame_and_its_spaces_can_be_given():
    given = PromptSettings(
        head="<|im_start|>user",
        opening=" Read:",
        separator="\n",
        passage_label="[document {number}]",
        tail="<|im_end|>",
    )
    builder = PromptBuilder(TOKENIZER, replace(given, instruction="Find:"))
    prompt = builder.build("why?", ["a", "b"], with_null=False)
    assert TOKENIZER.decode([*prompt.prefix, *prompt.tails[0].ids]) == (
        "<|im_start|>user Read:\n[document 1] a\n[document 2] b\nFind:\nQuery: why?<|im_end|>"
    )
    assert [decode(prompt.prefix, span) for span in prompt.passages] == [" a", " b"]
    inside = PromptBuilder(TOKENIZER, replace(given, label_in_span=True)).build("q", ["a"], with_null=False)
    assert decode(inside.prefix, inside.passages[0]) == "[document 1] a"


def test_an_empty_head_leaves_a_first_token_where_the_model_has_one():
    tokenizer = tokenizer_with("<s>", bos_token="<s>")
    prompt = PromptBuilder(tokenizer, PromptSettings(opening="")).build("q", [], with_null=False)
    assert prompt.prefix == (tokenizer.bos_token_id,)
