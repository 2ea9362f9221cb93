"""What integrations share: pairs as lists, keys for caches, the opening of rerankers."""

import copy
from dataclasses import replace

import pytest
import torch

from headrank import Reranker
from headrank.model import Head, PromptSettings, ScorerSettings, StateSettings
from headrank.reranker.adapters import open_reranker, plain_options, reranker_key, score_pairs
from tests.integrations.candidates import QUERY, TEXTS


def by_index(results):
    return [result.score for result in sorted(results, key=lambda result: result.index)]


def test_consecutive_pairs_of_a_query_are_one_list(reranker):
    pairs = [(QUERY, text) for text in TEXTS] + [["other", text] for text in TEXTS[:2]] + [(QUERY, TEXTS[2])]
    expected = [reranker.rank(QUERY, TEXTS), reranker.rank("other", TEXTS[:2]), reranker.rank(QUERY, [TEXTS[2]])]
    assert score_pairs(reranker, iter(pairs)) == pytest.approx(
        [s for results in expected for s in by_index(results)], abs=1e-6
    )
    assert score_pairs(reranker, []) == []


def test_queries_of_one_text_are_kept_apart_by_their_ids(reranker):
    scores = score_pairs(reranker, [(QUERY, text) for text in TEXTS], ["a", "a", "b", "b", "b"])
    expected = by_index(reranker.rank(QUERY, TEXTS[:2])) + by_index(reranker.rank(QUERY, TEXTS[2:]))
    assert scores == pytest.approx(expected, abs=1e-6)
    assert scores != pytest.approx(score_pairs(reranker, [(QUERY, text) for text in TEXTS]), abs=1e-6)
    with pytest.raises(ValueError, match="argument 2"):
        score_pairs(reranker, [(QUERY, "x")] * 2, ["a"])


@pytest.mark.parametrize("pair", ["qd", (QUERY,), (QUERY, None), (QUERY, "x", "y"), 3])
def test_an_item_that_is_no_pair_is_named(pair, reranker):
    with pytest.raises(TypeError, match=r"pairs\[1\]"):
        score_pairs(reranker, [(QUERY, "x"), pair])


def test_keys_differ_where_scores_do(reranker, model_folder):
    heads = reranker.heads
    others = [
        Reranker(reranker.backbone, heads.with_settings(scorer=ScorerSettings(power=1.0))),
        Reranker(reranker.backbone, replace(heads, weights=(2.0, 1.0))),
        Reranker.from_pretrained(model_folder, [(1, 2)], device="cpu"),
        Reranker.from_pretrained(model_folder, [(1, 2), (0, 3)], device="cpu", dtype="bfloat16"),
    ]
    again = Reranker.from_pretrained(model_folder, "1-2, 0-3", device="cpu")
    assert reranker_key(again) == reranker_key(reranker)
    assert len({reranker_key(one) for one in [reranker, *others]}) == 5


def test_keys_differ_between_models_that_share_a_heads_file(reranker):
    other = copy.deepcopy(reranker.backbone)
    with torch.no_grad():
        other.model.layers[0].self_attn.k_proj.weight.copy_(other.model.layers[0].self_attn.k_proj.weight.flip(0))
    aligned = Reranker(other, reranker.heads)
    scores = [by_index(one.rank(QUERY, TEXTS)) for one in (aligned, reranker)]
    assert scores[0] != pytest.approx(scores[1], abs=1e-4)
    assert reranker_key(aligned) != reranker_key(reranker)


def test_keys_differ_by_the_dtype_of_stored_states(reranker, tmp_path):
    blocks = reranker.heads.with_settings(prompt=PromptSettings(attention="blocks"))
    plain, same, eight_bits = (
        reranker_key(Reranker(reranker.backbone, blocks, states))
        for states in (None, StateSettings(str(tmp_path), "float32"), StateSettings(str(tmp_path), "int8"))
    )
    assert plain == same != eight_bits


def test_keys_are_equal_where_scores_are(reranker, calibrated):
    heads = reranker.heads
    measures = ({"entropy": 0.5}, {"entropy": 0.6})
    others = [
        replace(heads, scorer=replace(heads.scorer, batch_size=heads.scorer.batch_size + 1)),
        replace(heads, project_version="0.0.1", criterion={"name": "other"}, query_ids=("a",), measures=measures),
        replace(heads, model=heads.model | {"id": "elsewhere", "weights": "0"}, table={"entropy": [[0.5]]}),
        calibrated.heads,
    ]
    assert {reranker_key(Reranker(reranker.backbone, one)) for one in others} == {reranker_key(reranker)}


def test_options_as_plain_values(tmp_path):
    options = {"heads": [Head(1, 2)], "states": tmp_path, "device": "cpu", "batch_size": None}
    assert plain_options(options) == options | {"heads": [[1, 2]], "states": str(tmp_path)}
    for wrong in (PromptSettings(), ScorerSettings(), torch.float32):
        with pytest.raises(TypeError, match="dtype is"):
            plain_options({"device": "cpu", "dtype": wrong})


def test_a_reranker_is_opened_by_its_name_or_given(reranker, model_folder):
    assert open_reranker(reranker) is reranker
    assert open_reranker(model_folder, heads="1-2", device="cpu").heads.depth == 2
    with pytest.raises(TypeError, match="device"):
        open_reranker(reranker, device="cpu")
    with pytest.raises(TypeError, match="model"):
        open_reranker(3)  # type: ignore[arg-type]
