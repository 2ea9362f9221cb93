"""Load a complete causal language model with its LM head, for baselines that generate text or need logits.

HeadRank itself never needs the LM head (see `headrank/model/backbone.py`).
"""

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
        """The context length of the model in tokens, or None if its configuration does not specify it."""
        return context_limit(self.model.config.get_text_config(decoder=True))

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.device


def load_language_model(settings: BackboneSettings) -> LanguageModel:
    """Load a causal language model with all layers and its LM head, in evaluation mode.

    Raises:
        OSError: if the model cannot be found or downloaded.
        ModelError: if the model cannot be used, weights are missing, or it has no LM head. Checkpoints that alignment
            or `Reranker.save` wrote are truncated and cannot generate.
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
    """Check that a model can be loaded by `load_language_model`, without reading weights.

    Returns:
        The configuration and the tokenizer.

    Raises the errors of `load_language_model`.
    """
    check_device(settings.device)
    check_kernel(settings.kernel)
    config = load_config(settings)
    if hasattr(config, "headrank_full_layers"):
        raise ModelError(
            f"expected a complete language model, found {settings.model}, which `Reranker.save` or alignment cut to "
            "its first layers; use a checkpoint that can generate text"
        )
    tokenizer = load_tokenizer(settings)
    check_tokenizer(tokenizer, config, settings.model)
    if not settings.random_weights:
        check_weight_files(settings.folder(), config)
    return config, tokenizer


def context_tokens(settings: BackboneSettings) -> int | None:
    """Return the context length of a model in tokens, from its configuration, without reading weights.

    It is None if the configuration does not specify it.
    """
    return context_limit(load_config(settings).get_text_config(decoder=True))
