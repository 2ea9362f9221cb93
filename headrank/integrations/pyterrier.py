"""PyTerrier: a transformer for pipelines and `pt.Experiment`. Needs no Java."""

from headrank.extras import require_extra

require_extra("pyterrier", "headrank.integrations.pyterrier")

from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt

from headrank.reranker import Reranker
from headrank.reranker.adapters import PROBABILITY, open_reranker, relevance


class HeadRankTransformer(pt.Transformer):
    """Reranks the rows of each query of a frame with the columns qid, query, docno and text.

    Other columns are passed on. `score` and `rank` (from 0) are replaced; the old rank, if there is one, is the first
    stage's order. If the heads have a probability map, there is a column `relevance_probability`; without one, an old
    column is dropped. Rows without a qid (NaN) are one query.

    model: a reranker, or what `Reranker.from_pretrained` loads; its other arguments are `options`.
    """

    def __init__(self, model: Reranker | str | Path, **options: Any) -> None:
        self.reranker = open_reranker(model, **options)

    def __repr__(self) -> str:
        return f"HeadRankTransformer({self.reranker!r})"

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Return the frame reranked: queries in the given order, the rows of each best first."""
        pt.validate.result_frame(inp, extra_columns=["query", "text"], context=self)
        inp = inp.drop(columns=PROBABILITY, errors="ignore")
        frames = [frame for _, frame in inp.groupby("qid", sort=False, dropna=False, observed=True)]
        if "rank" in inp:
            frames = [frame.sort_values("rank", kind="stable") for frame in frames]
        lists = [(frame["query"].iloc[0], frame["text"].tolist()) for frame in frames]
        ranked = []
        for frame, results in zip(frames, self.reranker.rank_many(lists), strict=True):
            fields = pd.DataFrame([relevance(r, "score") | {"rank": pt.model.FIRST_RANK + r.rank - 1} for r in results])
            ranked.append(frame.iloc[[r.index for r in results]].reset_index(drop=True).assign(**fields))
        return pd.concat(ranked or [inp.assign(score=0.0, rank=0)], ignore_index=True)
