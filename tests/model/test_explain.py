"""Explanations of lists: scores as ranked, contributions that add up, in every way in which a list can be read."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import pytest
import torch

from headrank.model import Head, PromptSettings, Scorer, ScorerSettings, StateSettings
from headrank.model.explain import explain_list
from tests.model.scoring import STRANGE, candidates

HEADS = (Head(0, 1), Head(2, 3), Head(2, 0))
WEIGHTS = (1.0, 0.5, 2.0)
LONG = [f"passage {i}: " + "words of a passage " * (i % 4 + 1) for i in range(11)]


@dataclass(frozen=True)
class Root:
    """The square root of the attention: a calibration from outside."""

    name: ClassVar[str] = "root"
    needs_null: ClassVar[bool] = False

    def __call__(self, query, null, divisor, eps):
        return query.sqrt() / divisor


SETTINGS = {
    "default": ScorerSettings(),
    "log_ratio": ScorerSettings(calibration="log_ratio", query_rows="suffix"),
    "none": ScorerSettings(calibration="none", length_norm="tokens"),
    "icr": ScorerSettings(query_rows="published", power=0.0, token_filter=True, order="reversed"),
    "object": ScorerSettings(calibration=Root(), query_rows="instruction"),
    "both": ScorerSettings(order="both"),
    "shuffles": ScorerSettings(order="shuffled", shuffles=3),
    "windows": ScorerSettings(window=3),
    "windows, none": ScorerSettings(window=3, calibration="none"),
    "chunks": ScorerSettings(long_passages="max", order="both"),
    "chunks and windows": ScorerSettings(long_passages="max", window=4),
    "fusion": ScorerSettings(fusion=0.7, window=4),
    "fusion, none": ScorerSettings(fusion=0.7, calibration="none"),
}


def explain(backbone, settings, texts, *, prompt=None, query="which the passage?", top_k=None, states=None):
    scorer = Scorer(backbone, HEADS, weights=WEIGHTS, prompt=prompt, settings=settings, states=states)
    item = candidates(texts, query)
    (scored,) = scorer.score([item])
    return scored, explain_list(scorer, item, scored, top_k=top_k, per_head=True)


def check(scored, explained, texts, query="which the passage?") -> None:
    ranked = [(one.id, one.score, one.rank) for one in scored.ranking.results]
    assert [(one.id, one.score, one.rank) for one in explained.passages] == ranked[: len(explained.passages)]
    for one in explained.passages:
        assert one.text == texts[one.index]
        assert one.truncated == (one.id in scored.cut)
        explained_score = one.score - one.rest
        if explained.adds_up_to == "attention":
            explained_score = math.exp(explained_score)
        assert one.contribution == pytest.approx(explained_score, rel=1e-4, abs=2e-6)
        asked = sum(token.contribution for token in one.query_tokens) + one.other_rows
        assert asked == pytest.approx(one.contribution, rel=1e-4, abs=2e-6)
        by_head = torch.tensor(list(one.heads.values()))
        assert by_head.shape == (3, len(one.tokens))
        torch.testing.assert_close(by_head.sum(0), torch.tensor([t.contribution for t in one.tokens]))
        ends = [token.end for token in one.tokens]
        assert all(token.start >= end for token, end in zip(one.tokens[1:], ends, strict=False))
        assert ends[-1] <= len(one.text)
        assert [(t.start, t.end) for t in one.query_tokens] == [(t.start, t.end) for t in explained.query_tokens]
        assert query[explained.query_tokens[0].start : explained.query_tokens[-1].end] == query.strip()


@pytest.mark.parametrize(
    "name", [name for name in SETTINGS if name not in ("icr", "none", "windows, none", "fusion, none")]
)
def test_contributions_and_rest_add_up_to_the_score(backbone, name):
    texts = LONG if "window" in name else STRANGE
    prompt = PromptSettings(max_passage_tokens=16) if "chunks" in name else None
    scored, explained = explain(backbone, SETTINGS[name], texts, prompt=prompt)
    check(scored, explained, texts)
    assert explained.adds_up_to == ("score_shares" if name == "object" else "score")
    rests = [one.rest for one in explained.passages]
    if name == "fusion":
        assert all(rests)
    elif "windows" in name:
        again = -(-len(texts) // scored.windows)
        assert max(map(abs, rests[:again])) < 1e-6
        assert len({round(rest, 5) for rest in rests[again:]}) == 1  # one shift for all others
        assert rests[-1] <= 0
        assert name != "windows" or rests[-1] < 0
    else:
        assert not any(rests)


@pytest.mark.parametrize("name", ["none", "windows, none", "fusion, none"])
def test_without_calibration_contributions_add_up_to_the_mass_of_the_score(backbone, name):
    scored, explained = explain(backbone, replace(SETTINGS[name], length_norm="none"), LONG)
    check(scored, explained, LONG)
    assert explained.adds_up_to == "attention"


def test_contributions_are_means_over_the_context_orders(backbone):
    orders = ("first_stage", "reversed", "both")
    found = [explain(backbone, replace(SETTINGS["none"], order=order), LONG)[1] for order in orders]
    forward, backward, both = (
        {one.id: torch.tensor([t.contribution for t in one.tokens]) for one in explained.passages}
        for explained in found
    )
    for name, tokens in both.items():
        torch.testing.assert_close(tokens, (forward[name] + backward[name]) / 2)


def test_the_token_filter_drops_tokens(backbone):
    texts = [*STRANGE, "w" * 200]
    scored, explained = explain(backbone, SETTINGS["icr"], texts)
    for one in explained.passages:
        assert one.contribution == pytest.approx(one.score, rel=1e-4, abs=2e-6)
    assert any(token.contribution == 0 for one in explained.passages for token in one.tokens)
    assert len(scored.ranking) == len(explained.passages)


def test_other_rows_are_those_outside_of_the_query(backbone):
    _, alone = explain(backbone, ScorerSettings(), STRANGE)
    assert {one.other_rows for one in alone.passages} == {0.0}
    _, more = explain(backbone, ScorerSettings(query_rows="suffix"), STRANGE)
    assert all(one.other_rows for one in more.passages)
    assert more.other_rows == pytest.approx(sum(one.other_rows for one in more.passages) / len(STRANGE))


@pytest.mark.parametrize("stored", [False, True])
def test_prompts_in_blocks(backbone, stored, tmp_path):
    texts = STRANGE[:4]
    states = StateSettings(str(tmp_path)) if stored else None
    scored, explained = explain(
        backbone, ScorerSettings(), texts, prompt=PromptSettings(attention="blocks"), states=states
    )
    check(scored, explained, texts)


def test_a_label_has_an_empty_span(backbone):
    texts = ["some text", "  more"]
    scored, explained = explain(backbone, ScorerSettings(), texts, prompt=PromptSettings(label_in_span=True))
    check(scored, explained, texts)
    for one in explained.passages:
        first, second = one.tokens[:2]
        assert first.start == first.end == second.start == len(one.text) - len(one.text.lstrip())
        assert first.contribution != 0


def test_text_beyond_a_cut_has_no_tokens(backbone):
    texts = ["one two three four five six", "one"]
    query = "which the passage of all of these"
    scored, explained = explain(
        backbone, ScorerSettings(), texts, query=query, prompt=PromptSettings(max_passage_tokens=5, max_query_tokens=4)
    )
    assert scored.cut == ("d0",)
    assert explained.query_truncated
    cut, whole = sorted(explained.passages, key=lambda one: one.index)
    assert cut.truncated
    assert cut.tokens[-1].end < len(texts[0])
    assert not whole.truncated
    assert whole.tokens[-1].end == 3
    assert explained.query_tokens[-1].end < len(query)
    for one in explained.passages:
        assert one.contribution == pytest.approx(one.score, rel=1e-4)


def test_of_chunks_only_the_best_contributes(backbone):
    texts = ["the beginning of it. " * 6 + "the end", "short"]
    scored, explained = explain(
        backbone, ScorerSettings(long_passages="max"), texts, prompt=PromptSettings(max_passage_tokens=32)
    )
    check(scored, explained, texts)
    long = next(one for one in explained.passages if one.index == 0)
    assert long.tokens[-1].end == len(texts[0])  # every chunk has tokens
    silent = [token.contribution == 0 for token in long.tokens]
    changes = sum(a != b for a, b in pairwise(silent))
    assert 1 <= changes <= 2
    assert not all(silent)


def test_top_k_and_lists_of_one_and_none(backbone):
    scored, explained = explain(backbone, ScorerSettings(window=3), LONG, top_k=2)
    assert [one.id for one in explained.passages] == list(scored.ranking.passage_ids[:2])
    check(scored, explained, LONG)
    scored, explained = explain(backbone, ScorerSettings(order="both"), ["alone"])  # both orders share one prompt
    check(scored, explained, ["alone"])
    _, empty = explain(backbone, ScorerSettings(fusion=1.0), [])
    assert empty.passages == empty.query_tokens == ()
    assert empty.to_dict()["other_rows"] == 0


def test_the_heads_are_named(backbone):
    _, explained = explain(backbone, ScorerSettings(), ["a passage"])
    assert list(explained.passages[0].heads) == ["0-1", "2-3", "2-0"]


def test_without_calibration_contributions_are_attention(backbone):
    """With one head, no calibration and a token per entry."""
    scorer = Scorer(backbone, HEADS[:1], settings=ScorerSettings(calibration="none"))
    item = candidates(["some words here", "other words"])
    (scored,) = scorer.score([item])
    explained = explain_list(scorer, item, scored)
    (read,) = scorer.reader.read([item], [(0, 1)], HEADS[:1], with_null=False, per_token=True)
    for one in explained.passages:
        attention = read.scores.tokens.query[0, read.scores.tokens.passage == one.index].tolist()
        assert len(one.tokens) == len(attention)
        assert [t.contribution for t in one.tokens] == pytest.approx(attention, rel=1e-6)


def test_all_heads_add_up_to_the_sum_without_heads(backbone):
    scorer = Scorer(backbone, HEADS, weights=WEIGHTS)
    item = candidates(LONG)
    (scored,) = scorer.score([item])
    whole, split = (explain_list(scorer, item, scored, per_head=per_head) for per_head in (False, True))
    for one, by_head in zip(whole.passages, split.passages, strict=True):
        assert [t.contribution for t in one.tokens] == pytest.approx([t.contribution for t in by_head.tokens])
        assert (len(one.heads), len(by_head.heads)) == (0, len(HEADS))
