"""`auto` compares the known families with the turn that the tokenizer's own chat template writes."""

import logging

import pytest
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

from headrank.errors import ConfigError
from headrank.model import CHAT_TEMPLATES, ChatTemplate, PromptBuilder, PromptSettings
from headrank.model.own_turn import CONTENT, read_own_turn
from tests.model.test_chat_templates import tokenizer_with


def jinja(user: str, assistant: str, system: str = "", first: str = "") -> str:
    """A chat template: the `first` token, a default `system` turn, `user` with CONTENT as the text, `assistant`."""
    turn = user.replace("CONTENT", "{{ m.content }}")
    turns = f"{{% for m in messages %}}{turn}{{% endfor %}}"
    return f"{first}{system}{turns}{{% if add_generation_prompt %}}{assistant}{{% endif %}}"


CHATML = "<|im_start|>user\nCONTENT<|im_end|>\n", "<|im_start|>assistant\n"
THINK = "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
QWEN = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
LLAMA3 = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
PHI3 = ["<|user|>", "<|end|>", "<|assistant|>", "<|placeholder1|>"]
DEEPSEEK = ["<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"]
DATE = "Today: {{ strftime_now('%d %B %Y') }}"
LLAMA3_TURN = (
    "<|start_header_id|>user<|end_header_id|>\n\nCONTENT<|eot_id|>",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
)

FAMILIES = {
    "qwen3": (QWEN, jinja(*CHATML[:1], CHATML[1] + THINK)),
    "chatml": (QWEN[:2], jinja(*CHATML)),
    "chatml with a default system turn": (QWEN[:2], jinja(*CHATML, "<|im_start|>system\nHelp.<|im_end|>\n")),
    "qwen3 that always thinks": (QWEN, jinja(CHATML[0], f"{CHATML[1]}<think>\n")),
    "qwen3's frame in SmolLM3, with a date": (
        QWEN,
        jinja(CHATML[0], f"{CHATML[1]}<think>\n\n</think>\n", f"<|im_start|>system\n{DATE}<|im_end|>\n"),
    ),
    "llama3": (LLAMA3, jinja(*LLAMA3_TURN, first="<|begin_of_text|>")),
    "llama3 with a date": (
        LLAMA3,
        jinja(
            *LLAMA3_TURN,
            f"<|start_header_id|>system<|end_header_id|>\n\n{DATE}<|eot_id|>",
            "<|begin_of_text|>",
        ),
    ),
    "mistral": (["<s>", "[INST]", "[/INST]"], jinja("[INST]CONTENT[/INST]", "", first="<s>")),
    "mistral with spaces": (["<s>", "[INST]", "[/INST]"], jinja("[INST] CONTENT [/INST]", "", first="<s>")),
    "gemma": (
        ["<bos>", "<start_of_turn>", "<end_of_turn>"],
        jinja("<start_of_turn>user\nCONTENT<end_of_turn>\n", "<start_of_turn>model\n", first="<bos>"),
    ),
    "phi4": (
        ["<|im_start|>", "<|im_sep|>", "<|im_end|>"],
        jinja("<|im_start|>user<|im_sep|>CONTENT<|im_end|>", "<|im_start|>assistant<|im_sep|>"),
    ),
    "granite with a date": (
        ["<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"],
        jinja(
            "<|start_of_role|>user<|end_of_role|>CONTENT<|end_of_text|>\n",
            "<|start_of_role|>assistant<|end_of_role|>",
            f"<|start_of_role|>system<|end_of_role|>{DATE}<|end_of_text|>\n",
        ),
    ),
    "phi3": (PHI3, jinja("<|user|>\nCONTENT<|end|>\n", "<|assistant|>\n")),
}
"""A template of `CHAT_TEMPLATES` (the first word) -> special tokens and chat template."""

OWN = {
    "Phi-4-mini": (
        PHI3[:3],
        jinja("<|user|>CONTENT<|end|>", "<|assistant|>"),
        ("<|user|>", "<|end|><|assistant|>"),
    ),
    "Phi-3's tokens without its line breaks": (
        PHI3,
        jinja("<|user|>CONTENT<|end|>", "<|assistant|>"),
        ("<|user|>", "<|end|><|assistant|>"),
    ),
    "DeepSeek's turns in Llama 3's vocabulary": (
        [*LLAMA3[1:], *DEEPSEEK, "<think>", "</think>"],
        jinja(f"{DEEPSEEK[1]}CONTENT", f"{DEEPSEEK[2]}<think>\n", first=DEEPSEEK[0]),
        (f"{DEEPSEEK[0]}{DEEPSEEK[1]}", f"{DEEPSEEK[2]}<think>\n\n</think>\n\n"),
    ),
    "DeepSeek's turns in Qwen3's vocabulary": (
        [*QWEN, *DEEPSEEK],
        jinja(f"{DEEPSEEK[1]}CONTENT", DEEPSEEK[2], first=DEEPSEEK[0]),
        (f"{DEEPSEEK[0]}{DEEPSEEK[1]}", DEEPSEEK[2]),
    ),
    "OLMo 2, whose roles are plain text": (
        ["<|endoftext|>"],
        jinja("<|user|>\nCONTENT\n", "<|assistant|>\n", first="<|endoftext|>"),
        ("<|endoftext|><|user|>\n", "\n<|assistant|>\n"),
    ),
    "gpt-oss, with a date": (
        ["<|start|>", "<|message|>", "<|end|>"],
        jinja(
            "<|start|>user<|message|>CONTENT<|end|>", "<|start|>assistant", f"<|start|>system<|message|>{DATE}<|end|>"
        ),
        (
            "<|start|>system<|message|>Today: 01 January 2025<|end|><|start|>user<|message|>",
            "<|end|><|start|>assistant",
        ),
    ),
}
"""Models without an entry in `CHAT_TEMPLATES` -> special tokens, chat template, expected head and tail."""


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.WARNING, logger="headrank")
    return caplog


@pytest.mark.parametrize("case", FAMILIES)
def test_a_family_whose_turn_the_chat_template_writes(case, log):
    special, template = FAMILIES[case]
    tokenizer = tokenizer_with(*special, chat_template=template)
    assert PromptBuilder(tokenizer).chat_template is CHAT_TEMPLATES[case.replace("'", " ").split()[0]]
    assert not log.records


@pytest.mark.parametrize("case", OWN)
def test_any_other_model_gets_its_own_turn(case, log):
    special, template, (head, tail) = OWN[case]
    tokenizer = tokenizer_with(*special, chat_template=template)
    settings = PromptSettings()
    builder = PromptBuilder(tokenizer, settings)
    assert builder.chat_template == ChatTemplate("own", head, tail)
    prompt = builder.build("why?", ["a"], with_null=False)
    text = f"{head}{settings.opening} \n\n[1] a \n\n{settings.instruction} \n\nQuery: why?{tail}"
    assert [*prompt.prefix, *prompt.tails[0].ids] == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert not log.records


@pytest.mark.parametrize(("method", "rows"), [("icr", "suffix"), ("qrhead", "suffix"), ("core", "end_of_turn")])
@pytest.mark.parametrize("case", ["phi4", *OWN])
def test_published_code_has_no_template_for_these_models(case, method, rows):
    special, template, *_ = {**FAMILIES, **OWN}[case]
    tokenizer = tokenizer_with(*special, chat_template=template)
    auto = PromptBuilder(tokenizer).chat_template
    found = PromptBuilder(tokenizer, PromptSettings(chat_template=method)).chat_template
    assert (found.head, found.tail, found.query_rows) == (auto.head, auto.tail, rows)


def test_mistral_7b_v01_has_its_turn_in_plain_text():
    """Its vocabulary has no `[INST]`, and SentencePiece puts a space before a text, but not into its middle."""
    alphabet = [*sorted({*"[]/INSTabHerpgsQuy:?.\n123456789 ▁"}), "<unk>"]
    backend = Tokenizer(models.BPE(vocab={one: i for i, one in enumerate(alphabet)}, merges=[], unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.add_special_tokens(["<s>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, chat_template=jinja("[INST] CONTENT [/INST]", "", first="<s>")
    )
    builder = PromptBuilder(tokenizer)
    assert builder.chat_template == ChatTemplate("own", "<s>[INST] ", " [/INST]")
    prompt = builder.build("why?", ["a"], with_null=False)
    assert tokenizer.convert_ids_to_tokens(prompt.prefix[:8]) == ["<s>", "▁", *"[INST]"]
    assert tokenizer.convert_ids_to_tokens(prompt.tails[0].ids[-9:]) == ["?", "▁", *"[/INST]"]


def test_a_tokenizer_without_a_chat_template_has_no_turn():
    assert read_own_turn(tokenizer_with("<s>")) is None
    bare = tokenizer_with("<s>", chat_template="{% for m in messages %}{{ m.content }}{% endfor %}")
    assert PromptBuilder(bare).chat_template is CHAT_TEMPLATES["plain"]


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{{ raise_exception('needs tools') }}", "needs tools"),
        ("{% for m in messages %}{{ m.content }} {{ m.content }}{% endfor %}", "2 times"),
        ("{% for m in messages %}{{ m.content[0].text }}{% endfor %}<|im_start|>", "0 times"),
    ],
)
def test_a_chat_template_that_cannot_be_read_gives_a_warning(template, found, log):
    tokenizer = tokenizer_with(*QWEN[:2], chat_template=template)
    assert PromptBuilder(tokenizer).chat_template is CHAT_TEMPLATES["chatml"]
    PromptBuilder(tokenizer)
    assert [found in record.getMessage() for record in log.records] == [True]  # once


def test_a_think_block_that_the_model_does_not_write_gives_a_warning(log):
    """As in the releases of Qwen3 without thinking, whose vocabulary is Qwen3's."""
    tokenizer = tokenizer_with(*QWEN, chat_template=jinja(*CHATML))
    assert PromptBuilder(tokenizer).chat_template is CHAT_TEMPLATES["qwen3"]
    assert ["chat_template=chatml" in record.getMessage() for record in log.records] == [True]


def test_the_users_text_is_not_in_the_prompt():
    assert all(CONTENT not in part for part in read_own_turn(tokenizer_with(chat_template=jinja(*CHATML))) or [CONTENT])


def test_a_misspelt_token_is_refused_although_the_chat_template_has_others():
    tokenizer = tokenizer_with(*QWEN[:2], chat_template=jinja(*CHATML))
    with pytest.raises(ConfigError, match="im_ends"):
        PromptBuilder(tokenizer, PromptSettings(tail="<|im_ends|>"))
