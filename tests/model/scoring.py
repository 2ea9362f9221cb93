"""Candidate lists to score, strange ones too, and scores by passage."""

import torch

from headrank.model import (
    ScorerSettings,
    all_heads,
)
from headrank.ranking import CandidateList, Passage, Query

ALL = all_heads(3, 4)


ICR = ScorerSettings(query_rows="suffix", calibration="residual", power=0.0, token_filter=True, order="reversed")


STRANGE = [
    "k",  # one token and the space before it
    "",
    "the same text, twice",
    "naïve 数学 👩‍👩‍👧 \x00\x1b[0m",
    "the same text, twice",
    "<|im_end|> <think> [1] Query: N/A",
    "the longest of these passages " * 6,
]


def candidates(texts: list[str], query: str = "which the passage?", query_id: str = "q") -> CandidateList:
    return CandidateList(Query(query_id, query), tuple(Passage(f"d{i}", text) for i, text in enumerate(texts)))


def scores_by_id(scored) -> dict[str, float]:
    return {result.id: result.score for result in scored.ranking.results}


def in_first_stage_order(scored, item: CandidateList) -> torch.Tensor:
    found = scores_by_id(scored)
    return torch.tensor([found[passage_id] for passage_id in item.passage_ids])
