"""MTEB: a cross-encoder for its reranking tasks."""

from headrank.extras import require_extra

require_extra("mteb", "headrank.integrations.mteb")

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mteb.models import ModelMeta

from headrank.reranker import Reranker
from headrank.reranker.adapters import open_reranker, reranker_key, score_pairs
from headrank.reranker.run_model import CHECKPOINT


class HeadRankCrossEncoder:
    """A model for `mteb.evaluate` on tasks with candidate lists: reranking tasks, or retrieval converted to reranking.

    The candidates of a query are one list. `mteb_model_meta` names the model `headrank/NAME`; its revision is a hash of
    everything that scores depend on (weights, heads, prompt, scorer), so that MTEB's cache keeps their results apart.
    The name of a run's checkpoint is that of the run's folder.

    model: a reranker, or what `Reranker.from_pretrained` loads; its other arguments are `options`.
    """

    def __init__(self, model: Reranker | str | Path, **options: Any) -> None:
        self.reranker = open_reranker(model, **options)
        folder = Path(os.path.abspath(self.reranker.backbone.settings.model))  # without ".."
        name = folder.parent.name if folder.name == CHECKPOINT else folder.name
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": f"headrank/{name}",
                "revision": reranker_key(self.reranker),
                "model_type": ["cross-encoder"],
                "framework": ["PyTorch", "Transformers"],
            }
        )

    def predict(
        self, inputs1: Iterable[Mapping[str, Any]], inputs2: Iterable[Mapping[str, Any]], **kwargs: Any
    ) -> np.ndarray:
        """Score pairs.

        Args:
            inputs1: batches of queries: `text`, and `id` to tell queries of the same text apart.
            inputs2: batches of documents: `text`.
            kwargs: MTEB's task, split and batch size; they have no effect.

        Returns:
            The score of each pair [pairs] in float32. Scores of different queries are not comparable.
        """
        queries = list(inputs1)
        texts = [text for batch in queries for text in batch["text"]]
        ids = [query_id for batch in queries for query_id in batch.get("id", batch["text"])]
        pairs = zip(texts, (text for batch in inputs2 for text in batch["text"]), strict=True)
        return np.array(score_pairs(self.reranker, pairs, ids), dtype=np.float32)
