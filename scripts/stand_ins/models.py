"""Tiny random Qwen3 models under the hub ids and revisions that `conf/model` names."""

from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

from stand_ins.hub import HubModel
from stand_ins.ids import CONF
from stand_ins.texts import CONSONANTS, VOWELS


def configured_models(conf: Path = CONF) -> dict[str, str]:
    """Hub id -> commit hash of every model of `conf/model` that has both."""
    found = {}
    for file in sorted((conf / "model").glob("*.yaml")):
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        if settings.get("revision") and "/" in str(settings["model"]):
            found[settings["model"]] = settings["revision"]
    return found


def make_models(folder: Path) -> dict[str, HubModel]:
    """Write a tiny Qwen3 for each configured model under `folder`: five layers, seeded random weights, in bfloat16 and
    with a language-model head as the real ones."""
    from tests.tiny import tiny_tokenizer

    tokenizer = tiny_tokenizer(*((consonant, vowel) for consonant in CONSONANTS for vowel in VOWELS))
    config = AutoConfig.for_model(
        "qwen3",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=40960,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        for name, parameter in model.named_parameters():
            if "proj" in name:
                torch.nn.init.normal_(parameter, std=0.35)  # attention far from uniform
    made = {}
    for model_id, commit in configured_models().items():
        model.save_pretrained(folder / model_id)
        tokenizer.save_pretrained(folder / model_id)
        made[model_id] = HubModel(folder / model_id, commit)
    return made
