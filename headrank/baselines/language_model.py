"""A whole language model with its head: what generates text or gives logits, for the rerankers that HeadRank is
compared with. HeadRank itself never needs one (see `backbone.py`)."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from headrank.errors import ModelError
from headrank.model.backbone import DTYPES, BackboneSettings, context_limit, load_config, load_tokenizer, load_weights
from headrank.model.loading.checks import check_tokenizer, check_weight_files
from headrank.model.loading.devices import check_device, check_kernel


@dataclass(slots=True)
class LanguageModel:
    """A loaded causal language model, in evaluation mode, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def max_tokens(self) -> int | None:
        """The longest context the model was made for, in tokens, if its configuration says."""
        return context_limit(self.model.config.get_text_config(decoder=True))

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.device


def load_language_model(settings: BackboneSettings) -> LanguageModel:
    """Load a causal language model of all its layers, with its head.

    Raises `OSError` if the model cannot be had, and `ModelError` if it cannot be used, lacks weights or has no
    language-model head: a checkpoint that alignment or `Reranker.save` wrote is cut and cannot generate.
    """
    config, tokenizer = check_language_model(settings)
    if settings.random_weights:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: Any = AutoModelForCausalLM.from_config(
                config,
                dtype=DTYPES[settings.dtype],
                attn_implementation=settings.kernel,
                trust_remote_code=False,
            )
    else:
        model = load_weights(AutoModelForCausalLM, settings, config, attention=settings.kernel)
    return LanguageModel(model.to(settings.torch_device).eval(), tokenizer)


def check_language_model(settings: BackboneSettings) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """Check all that `load_language_model` needs, but read no weights; the configuration and the tokenizer.

    Raises what `load_language_model` raises.
    """
    check_device(settings.device)
    check_kernel(settings.kernel)
    config = load_config(settings)
    if hasattr(config, "headrank_full_layers"):
        raise ModelError(
            f"{settings.model} is no whole language model: `Reranker.save` or alignment cut it to its first layers. "
            "Expected a checkpoint that generates text"
        )
    tokenizer = load_tokenizer(settings)
    check_tokenizer(tokenizer, config, settings.model)
    if not settings.random_weights:
        check_weight_files(settings.folder(), config)
    return config, tokenizer


def context_tokens(settings: BackboneSettings) -> int | None:
    """`LanguageModel.max_tokens` of a model from its configuration alone; no weights are read."""
    return context_limit(load_config(settings).get_text_config(decoder=True))
