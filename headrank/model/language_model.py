"""A whole language model with its head: what generates text or gives logits, for the rerankers that HeadRank is
compared with. HeadRank itself never needs one (see `backbone.py`)."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from headrank.model.backbone import DTYPES, BackboneSettings, QuietLoading, load_config, locate


@dataclass(slots=True)
class LanguageModel:
    """A loaded causal language model, in evaluation mode, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def max_tokens(self) -> int | None:
        """The longest context the model was made for, in tokens, where its configuration says."""
        return _context(self.model.config)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.device


def load_language_model(settings: BackboneSettings) -> LanguageModel:
    """Load a causal language model of all its layers, with its head.

    Raises `OSError` where the model cannot be had, and `ValueError` where the weights hold no language-model head or
    lack others: a checkpoint that alignment or `Reranker.save` wrote is cut and cannot generate.
    """
    source, revision = locate(settings)
    config = load_config(settings, source, revision)
    if settings.random_weights:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(
                config, dtype=DTYPES[settings.dtype], attn_implementation=settings.other_kernel
            )
    else:
        with QuietLoading():
            opened: Any = AutoModelForCausalLM.from_pretrained(
                source,
                config=config,
                revision=revision,
                dtype=DTYPES[settings.dtype],
                attn_implementation=settings.other_kernel,
                use_safetensors=True,  # never a pickle, which can run code
                output_loading_info=True,
            )
        model, loading = opened
        if hasattr(config, "headrank_full_layers") or loading["missing_keys"]:
            raise ValueError(
                f"{settings.model} is no whole language model (a cut one, or without a head): wanted a checkpoint that "
                "generates text"
            )
    return LanguageModel(model.to(settings.torch_device).eval(), load_tokenizer(settings))


def context_tokens(settings: BackboneSettings) -> int | None:
    """`LanguageModel.max_tokens` of a model from its configuration alone; no weights are read."""
    return _context(load_config(settings, *locate(settings)))


def load_tokenizer(settings: BackboneSettings) -> PreTrainedTokenizerBase:
    """The model's tokenizer alone; no weights are read."""
    source, revision = locate(settings)
    return AutoTokenizer.from_pretrained(source, revision=revision)


def _context(config: PreTrainedConfig) -> int | None:
    return getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
