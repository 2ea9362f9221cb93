"""Probabilities of relevance in results: from the heads file, and none once its map no longer fits."""

import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file

from headrank import Reranker
from headrank.heads import HeadsFile, ProbabilityCalibration
from headrank.model import PromptSettings, ScorerSettings

PAIRS = [(1, 2), (0, 3)]
TEXTS = ["the first passage", "", "another passage"]
QUERY = "which passage is the first?"
MAP = ProbabilityCalibration(1.5, -1.0, 0.1, {"mine": 1}, lists=3, passages=20, relevant=4, protocol="cross_fitted")


@pytest.fixture(scope="module")
def heads(model_folder) -> HeadsFile:
    return replace(Reranker.from_pretrained(model_folder, PAIRS, device="cpu").heads, probability=MAP)


def test_results_have_the_maps_probabilities(model_folder, heads, tmp_path):
    reranker = Reranker.from_pretrained(model_folder, heads, device="cpu")
    results = reranker.rank(QUERY, TEXTS)
    assert tuple(result.probability for result in results) == MAP(result.score for result in results)
    assert reranker.rank(QUERY, TEXTS, top_k=1) == results[:1]
    assert reranker.rank_many([(QUERY, TEXTS), (QUERY, [])]) == [results, []]
    reranker.save(tmp_path / "saved")
    assert Reranker.from_pretrained(tmp_path / "saved", device="cpu").rank(QUERY, TEXTS) == results


@pytest.mark.parametrize(
    "changed",
    [
        {"scorer": ScorerSettings(fusion=0.5)},
        {"scorer": ScorerSettings(power=1.0)},
        {"prompt": PromptSettings(max_passage_tokens=50)},
    ],
)
def test_another_scorer_or_prompt_has_no_probabilities(changed, model_folder, heads):
    reranker = Reranker.from_pretrained(model_folder, heads, device="cpu", **changed)
    assert all(result.probability is None for result in reranker.rank(QUERY, TEXTS))


def test_another_model_has_no_probabilities(model_folder, heads, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "tuned")
    state = load_file(folder / "model.safetensors")
    state["layers.1.self_attn.q_proj.weight"] *= 1.02
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(UserWarning, match=str(folder)):
        reranker = Reranker.from_pretrained(folder, heads, device="cpu")
    assert all(result.probability is None for result in reranker.rank(QUERY, TEXTS))
