"""One set of random weights that every system of a shape uses, and lists to rerank."""

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
    """A language model and what reads of it: the same weights in all of them."""

    whole: LanguageModel
    settings: BackboneSettings

    @classmethod
    def load(cls, profile: Profile) -> "Shared":
        """Random weights of the profile's shape; the tokenizer is the embedded model's."""
        settings = BackboneSettings(
            random_weights=True, family="qwen3", overrides=profile.shape, dtype=profile.dtype, device=profile.device
        )
        config = load_config(settings)
        with torch.device(profile.device):  # made where they lie: billions take a processor a minute
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(
                config, dtype=DTYPES[profile.dtype], attn_implementation="sdpa", trust_remote_code=False
            )
        return cls(LanguageModel(model.eval(), load_tokenizer(settings)), settings)

    @property
    def decoder(self) -> Any:
        """The model without its head."""
        return self.whole.model.get_decoder()

    @property
    def shape(self) -> ModelShape:
        """Its sizes."""
        return backbone_shape(self.backbone())

    def backbone(
        self,
        depth: int | None = None,
        *,
        whole_deepest: bool = False,
        compiled: bool = False,
    ) -> Backbone:
        """The first layers, as a backbone with nothing else loaded. compiled: see `model.loading.compiled`."""
        layers = len(self.decoder.layers)
        model = copy.copy(self.decoder)
        model._modules = dict(self.decoder._modules)
        model.layers = nn.ModuleList(list(self.decoder.layers)[:depth])
        if compiled:  # modules of its own around the same weights: the others stay as they are
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
        """The layers compute attention by this function of transformers' for a while."""
        model: Any = self.whole.model
        before = model.config._attn_implementation
        model.set_attn_implementation(name)
        try:
            yield
        finally:
            model.set_attn_implementation(before)


def make_lists(tokenizer: Any, lists: int, passages: int) -> list[CandidateList]:
    """Lists of passages of 100 tokens each: the sample collection's text, cut anew."""
    text = " ".join(passage.text for passage in load_collection("sample/train").passages())
    enough = 12 * (
        37 * lists + PASSAGE_TOKENS * (passages + 1)
    )  # characters: no tokenizer's tokens are longer on average
    ids = tokenizer(text[:enough], add_special_tokens=False)["input_ids"]
    made = []
    for number in range(lists):
        starts = [(37 * number + n * PASSAGE_TOKENS) % (len(ids) - PASSAGE_TOKENS) for n in range(passages)]
        texts = [str(tokenizer.decode(ids[start : start + PASSAGE_TOKENS])) for start in starts]
        made.append(
            CandidateList(Query(f"q{number}", QUERY), tuple(Passage(f"p{n}", text) for n, text in enumerate(texts)))
        )
    return made
