"""ICR's published procedure, written out naively, against the scorer."""

import math
from dataclasses import replace

import pytest
import torch
from transformers import AutoModel

from headrank.model import (
    Backbone,
    PromptBuilder,
    PromptSettings,
    Scorer,
)
from headrank.model.chat_templates import CHAT_TEMPLATES
from tests.model.scoring import ALL, ICR, STRANGE, candidates, in_first_stage_order

ICR_PROMPT = PromptSettings(label_in_span=True)


def naive_icr(backbone: Backbone, query: str, texts: list[str], *, label_in_span: bool, lone_token: str) -> list[float]:
    """In-context reranking (arXiv 2410.02642) as published, with full attention matrices and plain loops.

    All heads; passages best last; rows from the instruction to the prompt's end; the score of the "N/A" query
    subtracted token by token; tokens at or below mean - 2 std of their passage dropped. `lone_token` says what becomes
    of a passage without a spread: `drops` (the published code) or `stays` (ours, documented in `filter_tokens`).
    """
    tokenizer, template = backbone.tokenizer, CHAT_TEMPLATES["qwen3"]
    text_only = PromptBuilder(
        tokenizer
    ).text_tokenizer  # the one thing not written anew: special-token text is plain text

    def plain(text: str) -> list[int]:
        return text_only.encode(text, add_special_tokens=False).ids

    separator = plain(" \n\n")
    order = list(reversed(range(len(texts))))
    ids = tokenizer(template.head + "Here are some paragraphs:", add_special_tokens=False)["input_ids"]
    spans = {}
    for position, index in enumerate(order):
        ids += separator
        label, body = plain(f"[{position + 1}]"), plain(f" {texts[index].strip()}")
        start = len(ids) + (0 if label_in_span else len(label))
        ids += label + body
        spans[index] = (start, len(ids))
    config = type(backbone.model.config).from_dict(backbone.model.config.to_dict())
    eager = AutoModel.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    eager.load_state_dict(backbone.model.state_dict())
    per_key = []
    for asked in (query, "N/A"):
        instruction = plain("Please find information that are relevant to the following query in the paragraphs above.")
        tail = separator + instruction + separator + plain("Query:") + plain(f" {asked}")
        tail += tokenizer(template.tail, add_special_tokens=False)["input_ids"]
        first_row = len(ids) + len(separator)
        with torch.no_grad():
            attentions = eager(torch.tensor([[*ids, *tail]]), output_attentions=True).attentions
        total = torch.zeros(len(ids))
        for layer in attentions:
            for head in range(layer.shape[1]):
                total += layer[0, head, first_row:, : len(ids)].mean(0)
        per_key.append(total)
    calibrated = (per_key[0] - per_key[1]).tolist()
    result = []
    for index in range(len(texts)):
        values = calibrated[slice(*spans[index])]
        mean = sum(values) / len(values)
        if len(values) == 1:
            result.append(values[0] if lone_token == "stays" else 0.0)
            continue
        std = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
        result.append(sum(v for v in values if v > mean - 2 * std))
    return result


@pytest.mark.parametrize("texts", [STRANGE, STRANGE[:1], ["", ""]], ids=["strange", "alone", "empty"])
def test_the_published_icr_procedure(texts, backbone):
    item = candidates(texts)
    want = naive_icr(backbone, item.query.text, texts, label_in_span=True, lone_token="drops")
    scored = Scorer(backbone, ALL, prompt=ICR_PROMPT, settings=ICR).score([item])[0]
    torch.testing.assert_close(in_first_stage_order(scored, item), torch.tensor(want), atol=2e-5, rtol=1e-4)
    expected = sorted(range(len(texts)), key=lambda i: -want[i])
    assert scored.ranking.passage_ids == tuple(f"d{i}" for i in expected)
    assert scored.context.passage_ids == tuple(reversed(item.passage_ids))  # best last
    without = replace(ICR, token_filter=False)
    unfiltered = in_first_stage_order(Scorer(backbone, ALL, prompt=ICR_PROMPT, settings=without).score([item])[0], item)
    if len(texts) == len(STRANGE):
        assert (unfiltered - torch.tensor(want)).abs().max() > 1e-3  # the filter really dropped something


def test_a_passage_of_one_token_keeps_it(backbone):
    """The one deviation from ICR's code, where the label is not part of the passage: that gives an empty passage 0."""
    item = candidates(STRANGE)
    settings = replace(PromptSettings(), label_in_span=False)
    got = in_first_stage_order(Scorer(backbone, ALL, prompt=settings, settings=ICR).score([item])[0], item)
    text = item.query.text
    ours = naive_icr(backbone, text, STRANGE, label_in_span=False, lone_token="stays")
    published = naive_icr(backbone, text, STRANGE, label_in_span=False, lone_token="drops")
    torch.testing.assert_close(got, torch.tensor(ours), atol=2e-5, rtol=1e-4)
    assert [i for i, (a, b) in enumerate(zip(ours, published, strict=True)) if a != b] == [1]
    assert abs(ours[1]) > 1e-4
