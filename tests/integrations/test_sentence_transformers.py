"""Code that calls a CrossEncoder can call the reranker, and so can sentence-transformers' evaluators."""

import numpy as np
import pytest
import torch
from hypothesis import given

from tests.integrations.candidates import QUERY, TEXTS, candidates, counts, few, ranked

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed (extra `baselines`)")

from sentence_transformers.cross_encoder.evaluation import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderRerankingEvaluator,
)

from headrank.integrations.sentence_transformers import HeadRankCrossEncoder

PAIRS = [(query, text) for query in (QUERY, "how is bread made") for text in TEXTS]


@few
@given(given=candidates, count=counts)
def test_rank(given, count, calibrated):
    texts = [text for _, text, _ in given]
    expected = [(r.index, r.score, text) for (_, text, _), r in ranked(calibrated, given, count)]
    encoder = HeadRankCrossEncoder(calibrated)
    assert encoder.rank(QUERY, texts, top_k=count, return_documents=True) == [
        {"corpus_id": index, "score": score, "text": text} for index, score, text in expected
    ]
    assert encoder.rank(QUERY, tuple(texts), count) == [{"corpus_id": i, "score": s} for i, s, _ in expected]


def test_predict_reads_the_consecutive_pairs_of_a_query_as_a_list(reranker):
    expected = [
        result.score
        for query in dict(PAIRS)
        for result in sorted(reranker.rank(query, TEXTS), key=lambda result: result.index)
    ]
    encoder = HeadRankCrossEncoder(reranker)
    found = encoder.predict(PAIRS)
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    as_tensor = encoder.predict([list(pair) for pair in PAIRS], convert_to_tensor=True)
    assert torch.equal(as_tensor, torch.from_numpy(found))
    as_list = encoder.predict(PAIRS, convert_to_numpy=False)
    assert torch.equal(torch.stack(as_list), as_tensor)
    assert encoder.predict([]).shape == (0,)


def test_one_pair_has_one_score(reranker):
    encoder = HeadRankCrossEncoder(reranker)
    for pair in (PAIRS[0], list(PAIRS[0])):
        assert encoder.predict(pair) == pytest.approx(reranker.rank(QUERY, TEXTS[:1])[0].score, abs=1e-6)
    assert encoder.predict(PAIRS[:2]).shape == (2,)


def test_the_evaluator(reranker, tmp_path):
    samples = [
        {"query": QUERY, "positive": [TEXTS[0]], "documents": TEXTS[1:]},
        {"query": "how is bread made", "positive": [TEXTS[2]], "documents": [TEXTS[0], TEXTS[2]]},
    ]
    evaluator = CrossEncoderRerankingEvaluator(samples, at_k=3, name="tiny", always_rerank_positives=False)
    encoder = HeadRankCrossEncoder(reranker)
    metrics = evaluator(encoder, output_path=str(tmp_path))
    # in the first sample the relevant text is a repeated one; its place is that of either copy
    ranks = []
    for sample in samples:
        results = reranker.rank(sample["query"], sample["documents"])
        ranks.append(next(r.rank for r in results if r.text in sample["positive"]))
    assert metrics["tiny_mrr@3"] == pytest.approx(sum(1 / rank if rank <= 3 else 0 for rank in ranks) / 2)
    assert (tmp_path / evaluator.csv_file).is_file()
    assert encoder.model_card_data.eval_results_dict


def test_consecutive_samples_of_one_query_are_one_list(reranker):
    encoder = HeadRankCrossEncoder(reranker)
    samples = [{"query": QUERY, "positive": [TEXTS[0]], "documents": texts} for texts in (TEXTS[:2], TEXTS[2:])]
    seen = []
    predict = encoder.predict
    encoder.predict = lambda pairs, **options: seen.append(predict(pairs, **options)) or seen[-1]
    CrossEncoderRerankingEvaluator(samples, always_rerank_positives=False, write_csv=False)(encoder)
    results = sorted(reranker.rank(QUERY, TEXTS), key=lambda result: result.index)
    assert seen[0].tolist() == pytest.approx([r.score for r in results], abs=1e-6)


def test_evaluators_read_the_number_of_labels(reranker):
    labels = [text == TEXTS[0] for _, text in PAIRS]
    evaluator = CrossEncoderClassificationEvaluator(PAIRS, labels, name="tiny", write_csv=False)
    assert "tiny_average_precision" in evaluator(HeadRankCrossEncoder(reranker))


def test_neutral_arguments_are_allowed_and_others_refused(reranker):
    encoder = HeadRankCrossEncoder(reranker)
    neutral = dict.fromkeys(["prompt_name", "prompt", "activation_fn", "device", "pool", "chunk_size"])
    assert np.array_equal(encoder.predict(PAIRS, apply_softmax=False, **neutral), encoder.predict(PAIRS))
    assert encoder.rank(QUERY, TEXTS, apply_softmax=None, **neutral) == encoder.rank(QUERY, TEXTS)
    for wrong in (
        {"apply_softmax": True},
        {"prompt_name": "web"},
        {"device": "cpu"},
        {"chunk_size": 0},
        {"haeds": None},
    ):
        (name,) = wrong
        with pytest.raises(TypeError, match=name):
            encoder.predict(PAIRS, **wrong)
        with pytest.raises(TypeError, match=name):
            encoder.rank(QUERY, TEXTS, **wrong)


def test_a_model_by_its_name_with_options(model_folder, reranker):
    named = HeadRankCrossEncoder(model_folder, heads="1-2, 0-3", device="cpu")
    assert named.rank(QUERY, TEXTS) == HeadRankCrossEncoder(reranker).rank(QUERY, TEXTS)
    with pytest.raises(TypeError, match="haeds"):
        HeadRankCrossEncoder(model_folder, haeds="all")
    with pytest.raises(TypeError, match="activation_fn"):
        named.predict(PAIRS, activation_fn=torch.sigmoid)
