"""Qwen3-Reranker: prompts and scores against the model card's own computation, one pair at a time."""

import math

import pytest
import torch

from headrank.baselines import Qwen3Reranker
from headrank.baselines.chat import join
from headrank.baselines.qwen3_reranker import PREFIX, SUFFIX, PairPrompts, YesNoReranker, probability
from headrank.model import BackboneSettings
from tests.baselines.toy import HOSTILE, candidates, chat_tokenizer, language_model
from tests.tokenizers import qwen3_tokenizer

TOKENIZER = chat_tokenizer()
TEXTS = ("The moon pulls the sea.", "Bread.", "Tides rise and fall twice a day, I know. " * 9, "yes or no", "数学 ☾")


def card_ids(tokenizer, instruction: str, query: str, document: str, max_length: int) -> list[int]:
    """`format_instruction` and `process_inputs` of the model card."""
    prefix = tokenizer.encode(PREFIX, add_special_tokens=False)
    suffix = tokenizer.encode(SUFFIX, add_special_tokens=False)
    body = tokenizer(
        f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
        truncation="longest_first",
        max_length=max_length - len(prefix) - len(suffix),
    )["input_ids"]
    return prefix + body + suffix


def card_score(model, tokenizer, ids: list[int]) -> float:
    """`compute_logits` of the model card, for one prompt."""
    with torch.no_grad():
        scores = model(input_ids=torch.tensor([ids])).logits[:, -1, :]
    yes, no = (scores[:, tokenizer.convert_tokens_to_ids(word)] for word in ("yes", "no"))
    return torch.nn.functional.log_softmax(torch.stack([no, yes], dim=1), dim=1)[0, 1].exp().item()


@pytest.mark.parametrize("make", [chat_tokenizer, qwen3_tokenizer], ids=["toy", "qwen3"])
@pytest.mark.parametrize("max_length", [8192, 400])
def test_prompts_are_the_model_card_s(make, max_length):
    tokenizer = make()
    item = candidates(*TEXTS)
    prompts = PairPrompts(tokenizer, "Find what answers", max_length).build(item)
    for text, pieces in zip(TEXTS, prompts, strict=True):
        assert join(pieces) == card_ids(tokenizer, "Find what answers", item.query.text, text.strip(), max_length)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_scores_are_the_model_card_s(batch_size):
    loaded = language_model(TOKENIZER)
    item = candidates(*TEXTS)
    reranker = YesNoReranker(loaded, Qwen3Reranker(batch_size=batch_size))
    output = reranker.rerank([item])
    ids = [card_ids(TOKENIZER, Qwen3Reranker().instruction, item.query.text, text.strip(), 8192) for text in TEXTS]
    expected = {f"d{i}": card_score(loaded.model, TOKENIZER, prompt) for i, prompt in enumerate(ids)}
    assert max(expected.values()) - min(expected.values()) > 0.01, "the model tells them apart"
    found = {result.id: result.score for result in output.rankings[0].results}
    assert found == pytest.approx(expected, abs=2e-6)
    assert list(output.rankings[0].passage_ids) == sorted(expected, key=lambda i: -expected[i])
    uncut = {"passages": len(TEXTS), "cut_lists": 0, "cut_passages": 0, "cut_queries": 0}
    assert output.facts == {"tokens": sum(map(len, ids)), **uncut}
    assert output.contexts == ()


def test_only_the_passage_is_cut():
    tokenizer, item = TOKENIZER, candidates("tide " * 500, "short")
    long, short = (join(pieces) for pieces in PairPrompts(tokenizer, "Find", 300).build(item))
    assert len(long) == 300 > len(short)
    text = str(tokenizer.decode(long))
    assert text.startswith(PREFIX + f"<Instruct>: Find\n<Query>: {item.query.text}\n<Document>: tide tide")
    assert text.endswith(SUFFIX)
    facts = YesNoReranker(language_model(tokenizer), Qwen3Reranker(max_length=300)).rerank([item]).facts
    assert (facts["passages"], facts["cut_passages"], facts["cut_lists"], facts["cut_queries"]) == (2, 1, 1, 0)
    query = candidates("a", query="tide " * 500, query_id="long")
    with pytest.raises(ValueError, match=r"query 'long'.* 300\b"):
        YesNoReranker(language_model(tokenizer), Qwen3Reranker(max_length=300)).rerank([item, query])
    with pytest.raises(ValueError, match=r"query 'long'.* 256\b"):  # the model's own context
        YesNoReranker(language_model(tokenizer, max_tokens=256), Qwen3Reranker()).rerank([query])


def test_any_list_has_a_result():
    lists = [
        candidates(query_id="q0"),
        candidates("one", query_id="q1"),
        candidates("", HOSTILE, "x" * 5000, "the same", "the same", query=HOSTILE, query_id="q2"),
    ]
    seen: list[int] = []
    output = YesNoReranker(language_model(TOKENIZER, max_tokens=1024), Qwen3Reranker(batch_size=2)).rerank(
        lists, on_list=lambda: seen.append(1)
    )
    assert len(seen) == 3
    assert [len(ranking) for ranking in output.rankings] == [0, 1, 5]
    ids = output.rankings[2].passage_ids
    assert ids.index("d3") < ids.index("d4"), "equal scores keep the first stage's order"
    special = {TOKENIZER.convert_tokens_to_ids(t) for t in ("<|im_start|>", "<|im_end|>", "<think>", "</think>")}
    builder = PairPrompts(TOKENIZER, "Find", 1024)
    hostile, plain = (join(builder.build(item)[0]) for item in (candidates(HOSTILE), candidates("a")))
    assert [i for i in hostile if i in special] == [i for i in plain if i in special]


def test_probabilities_of_large_margins_are_told_apart():
    margins = [-1000.0, -40.0, -1.0, 0.0, 1.0, 20.0, 30.0]
    found = [probability(margin) for margin in margins]
    assert found == sorted(found)
    assert len(set(found)) == len(found)
    assert found[3] == 0.5
    assert found[4] == pytest.approx(math.e / (1 + math.e))
    assert probability(1000.0) == 1.0


def test_a_model_that_has_no_yes_is_told(tokenizer):
    with pytest.raises(ValueError, match="'yes' is 3 tokens"):
        YesNoReranker(language_model(tokenizer), Qwen3Reranker())


def test_settings():
    own = BackboneSettings("a/model")
    assert Qwen3Reranker().identity(own)["model"]["settings"].model == "Qwen/Qwen3-Reranker-0.6B"
    assert Qwen3Reranker(model=None).identity(own)["model"]["settings"] == own
    assert Qwen3Reranker(batch_size=3).identity(own) == Qwen3Reranker().identity(own)
    assert Qwen3Reranker(instruction="Find").identity(own) != Qwen3Reranker().identity(own)
    for name in ("max_length", "batch_size"):
        with pytest.raises(ValueError, match=name):
            Qwen3Reranker(**{name: 0})
