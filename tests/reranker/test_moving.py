"""A reranker moves to another dtype or device, and says what it is."""

import pytest
import torch

from headrank import Reranker
from headrank.errors import ConfigError
from headrank.model import PromptSettings

PAIRS = [(1, 2), (0, 3)]
TEXTS = ["the first passage", "another passage", "a third one"]


@pytest.fixture
def reranker(model_folder) -> Reranker:
    return Reranker.from_pretrained(model_folder, PAIRS, device="cpu")


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_another_dtype_scores_as_if_loaded_in_it(dtype, reranker, model_folder):
    loaded = Reranker.from_pretrained(model_folder, PAIRS, device="cpu", dtype=dtype)
    before = reranker.rank("query", TEXTS)
    assert reranker.to(dtype=dtype) is reranker
    assert (reranker.dtype, reranker.device) == (torch.bfloat16, torch.device("cpu"))
    assert reranker.backbone.settings.dtype == "bfloat16"
    assert reranker.rank("query", TEXTS) == loaded.rank("query", TEXTS) != before
    floats = {buffer.dtype for buffer in reranker.backbone.model.buffers() if buffer.is_floating_point()}
    assert floats == {torch.float32}, "rotary frequencies stay in float32"


def test_torch_s_ways_of_calling_to(reranker):
    expected = reranker.rank("query", TEXTS)
    assert reranker.to("cpu").to(torch.device("cpu")).to(torch.float32).to().rank("query", TEXTS) == expected
    assert reranker.to(torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"device": "cud"}, "'cud'"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"dtype": "bf16"}, "bfloat16"),
        ({"dtype": torch.int8}, "int8"),
        ({"device": torch.bfloat16, "dtype": "float32"}, "two dtypes"),
        ({"device": "cuda:99", "dtype": "bfloat16"}, "cuda:99"),
    ],
)
def test_a_wrong_place_changes_nothing(arguments, named, reranker):
    with pytest.raises(ConfigError, match=named):
        reranker.to(**arguments)
    assert (reranker.dtype, str(reranker.device)) == (torch.float32, "cpu")
    assert reranker.backbone.settings.dtype == "float32"


def test_stored_states_follow_the_model(model_folder, tmp_path):
    options = {"device": "cpu", "prompt": PromptSettings(attention="blocks")}
    reranker = Reranker.from_pretrained(model_folder, PAIRS, **options)
    other = Reranker(reranker.backbone, reranker.heads)
    reranker.index(TEXTS, tmp_path / "states")
    loaded = Reranker.from_pretrained(model_folder, PAIRS, dtype="bfloat16", **options)
    loaded.index(TEXTS, tmp_path / "states")
    other.to(torch.bfloat16)
    assert reranker.rank("query", TEXTS) == loaded.rank("query", TEXTS)


def test_what_a_reranker_shows(reranker, model_folder):
    assert repr(reranker) == f"Reranker('{model_folder}', 2 of 3 layers, 2 heads: 1-2, 0-3, float32 on cpu)"
    every = Reranker.from_pretrained(model_folder, "all", device="cpu")
    assert "12 heads: 0-0, 0-1, " in repr(every)
    assert "..." in repr(every)
