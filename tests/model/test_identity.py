"""The fingerprint of a loaded model covers the embeddings and the layers in use."""

import pytest
import torch

from headrank.model.identity import loaded_fingerprint
from tests.tiny import tiny_backbone


@pytest.mark.parametrize(("changed", "differs"), [("embed_tokens", True), ("layers.1.", True), ("layers.2.", False)])
def test_a_changed_weight(tokenizer, changed, differs):
    model = tiny_backbone("qwen3", tokenizer).model
    before = loaded_fingerprint(model, 2)
    assert before == loaded_fingerprint(tiny_backbone("qwen3", tokenizer).model, 2)
    with torch.no_grad():
        next(weight for name, weight in model.named_parameters() if changed in name).flatten()[0] += 1
    assert (loaded_fingerprint(model, 2) != before) == differs
