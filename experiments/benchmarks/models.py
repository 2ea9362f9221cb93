"""Make random weights that all systems of a shape share, and candidate lists."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from experiments.benchmarks.profiles import PASSAGE_TOKENS, Profile
from headrank.baselines.language_model import LanguageModel, load_tokenizer
from headrank.data import load_collection
from headrank.model import Backbone, BackboneSettings, ModelShape, backbone_shape
from headrank.model.attention import ATTENTION_NAME
from headrank.model.backbone import DTYPES, cut_config, load_config
from headrank.model.loading.compiled import compile_parts
from headrank.ranking import CandidateList, Passage, Query

QUERY = "why do the tides of the sea follow the moon and not the sun"


@dataclass
class Shared:
    """A language model, and the systems' models that share its weights."""

    whole: LanguageModel
    settings: BackboneSettings

    @classmethod
    def load(cls, profile: Profile) -> "Shared":
        """Make random weights of the profile's shape, with the embedded model's tokenizer."""
        settings = BackboneSettings(
            random_weights=True, family="qwen3", overrides=profile.shape, dtype=profile.dtype, device=profile.device
        )
        config = load_config(settings)
        with torch.device(profile.device):  # initialised on the device: billions of weights take minutes on a CPU
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(
                config, dtype=DTYPES[profile.dtype], attn_implementation="sdpa", trust_remote_code=False
            )
        return cls(LanguageModel(model.eval(), load_tokenizer(settings)), settings)

    @property
    def decoder(self) -> Any:
        """The model without its LM head."""
        return self.whole.model.get_decoder()

    @property
    def shape(self) -> ModelShape:
        """The sizes of the model."""
        return backbone_shape(self.backbone())

    def backbone(
        self,
        depth: int | None = None,
        *,
        whole_deepest: bool = False,
        compiled: bool = False,
    ) -> Backbone:
        """Return the first layers of the model as a backbone.

        Args:
            depth: the number of layers; None: all.
            whole_deepest: whether the deepest layer is computed completely.
            compiled: whether layers are compiled, see `model.loading.compiled`.
        """
        layers = len(self.decoder.layers)
        model = copy.copy(self.decoder)
        model._modules = dict(self.decoder._modules)
        model.layers = nn.ModuleList(list(self.decoder.layers)[:depth])
        if compiled:  # new modules around the same weights; the others are not changed
            kept = [*model.layers.parameters(), self.decoder.config]  # `attention` changes the one config
            memo = {id(one): one for one in kept}
            model.layers = copy.deepcopy(model.layers, memo)
        model.config = copy.deepcopy(self.decoder.config)
        cut_config(model.config, depth or layers)
        model.config._attn_implementation = ATTENTION_NAME
        settings = replace(self.settings, whole_deepest=whole_deepest)
        backbone = Backbone(model, self.whole.tokenizer, layers, settings)
        if compiled:
            compile_parts(model)
        return backbone

    @contextmanager
    def attention(self, name: str) -> Iterator[None]:
        """Make the layers use this attention implementation of transformers within this context."""
        model: Any = self.whole.model
        before = model.config._attn_implementation
        model.set_attn_implementation(name)
        try:
            yield
        finally:
            model.set_attn_implementation(before)


def make_lists(tokenizer: Any, lists: int, passages: int) -> list[CandidateList]:
    """Make candidate lists of passages of 100 tokens each, from the sample collection's text.

    Args:
        tokenizer: counts the tokens.
        lists: the number of candidate lists.
        passages: the number of passages per list.
    """
    text = " ".join(passage.text for passage in load_collection("sample/train").passages())
    enough = 12 * (37 * lists + PASSAGE_TOKENS * (passages + 1))  # characters; tokens are shorter on average
    ids = tokenizer(text[:enough], add_special_tokens=False)["input_ids"]
    candidates = []
    for number in range(lists):
        starts = [(37 * number + n * PASSAGE_TOKENS) % (len(ids) - PASSAGE_TOKENS) for n in range(passages)]
        texts = [str(tokenizer.decode(ids[start : start + PASSAGE_TOKENS])) for start in starts]
        candidates.append(
            CandidateList(Query(f"q{number}", QUERY), tuple(Passage(f"p{n}", text) for n, text in enumerate(texts)))
        )
    return candidates
