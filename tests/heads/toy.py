"""Head tables made by hand."""

import torch

from headrank.heads import HeadTable, LabelledScores
from headrank.model import Head, HeadScores


def labelled(
    query, grades, *, null=None, filtered=None, lengths=None, query_id="q", width=2, threshold=1
) -> LabelledScores:
    """One list from plain numbers: `query[h][i]`; heads are counted layer by layer, `width` to a layer."""
    scores = torch.as_tensor(query, dtype=torch.float32)
    heads = tuple(Head(h // width, h % width) for h in range(len(scores)))
    null_scores = torch.zeros_like(scores) if null is None else torch.as_tensor(null, dtype=torch.float32)
    item = HeadScores(heads, scores, null_scores, torch.as_tensor(lengths or [1] * scores.shape[1]))
    per_token = None if filtered is None else torch.as_tensor(filtered)
    return LabelledScores(query_id, torch.as_tensor(grades), item, per_token, threshold)


def table(*lists: LabelledScores) -> HeadTable:
    return HeadTable(lists[0].scores.heads, tuple(lists))
