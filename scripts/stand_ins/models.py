"""Tiny random models under the hub ids and revisions of `conf/model` and `conf/baselines`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

from stand_ins.hub import HubModel
from stand_ins.ids import CONF
from stand_ins.texts import CONSONANTS, VOWELS


@dataclass(frozen=True, slots=True)
class ConfiguredModel:
    """A hub model in `conf/`. kind: `decoder` or `cross_encoder`."""

    model_id: str
    commit: str
    kind: str


def configured_models(conf: Path = CONF) -> list[ConfiguredModel]:
    """Every hub model in `conf/model` and `conf/baselines`, with its commit."""
    found = []
    for file in sorted((conf / "model").glob("*.yaml")):
        found.append((yaml.safe_load(file.read_text(encoding="utf-8")), "decoder"))
    for file in sorted((conf / "baselines").glob("*.yaml")):
        for settings in yaml.safe_load(file.read_text(encoding="utf-8")).values():
            if isinstance(settings, dict) and settings.get("model"):
                kind = "cross_encoder" if "CrossEncoder" in settings["_target_"] else "decoder"
                found.append((settings["model"], kind))
    return [ConfiguredModel(one["model"], one["revision"], kind) for one, kind in found if one.get("revision")]


def make_models(folder: Path) -> dict[str, HubModel]:
    """Write a tiny model with seeded random weights for each configured one under `folder`.

    Decoders are Qwen3 of five layers in bfloat16, with a language-model head and a chat template as the real ones;
    cross-encoders are BERT.
    """
    from tests.baselines.toy import CHATML, cross_encoder_folder
    from tests.tiny import tiny_tokenizer

    syllables = ((consonant, vowel) for consonant in CONSONANTS for vowel in VOWELS)
    tokenizer = tiny_tokenizer(*syllables, ("y", "e"), ("ye", "s"))  # `no` is a syllable
    tokenizer.chat_template = CHATML
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
    for one in configured_models():
        place = folder / one.model_id
        if one.kind == "cross_encoder":
            cross_encoder_folder(place)
        else:
            model.save_pretrained(place)
            tokenizer.save_pretrained(place)
        made[one.model_id] = HubModel(place, one.commit)
    return made
