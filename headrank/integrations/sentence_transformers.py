"""sentence-transformers: the methods of a `CrossEncoder`, for code and evaluators that call one."""

from headrank.extras import require_extra

require_extra("baselines", "headrank.integrations.sentence_transformers", "sentence_transformers")

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.cross_encoder import CrossEncoderModelCardData

from headrank.reranker import Reranker
from headrank.reranker.adapters import expect_neutral, open_reranker, score_pairs

_NEUTRAL = ("activation_fn", "apply_softmax", "chunk_size", "device", "pool", "prompt", "prompt_name")


class HeadRankCrossEncoder:
    """Scores pairs and ranks documents with the signatures of `CrossEncoder`.

    Scores are listwise: consecutive pairs of one query are one list, and a score depends on the other documents of its
    list. Give all documents of a query together, and compare scores only within a list (see docs/integrations.md).

    model: a reranker, or what `Reranker.from_pretrained` loads; its other arguments are `options`. `batch_size` and
        `show_progress_bar` have no effect. `neutral`: other arguments of `CrossEncoder`, each None or False.
    """

    num_labels = 1  # evaluators read it

    def __init__(self, model: Reranker | str | Path, **options: Any) -> None:
        self.reranker = open_reranker(model, **options)
        self.model_card_data = CrossEncoderModelCardData()  # evaluators store their metrics there

    def predict(
        self,
        inputs: Sequence[Any],
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        **neutral: Any,
    ) -> Any:
        """Score (query, document) pairs.

        Args:
            inputs: pairs of texts, sorted by query, or one pair.
            batch_size, show_progress_bar, neutral: for the signature.
            convert_to_numpy: return a numpy array; if False, a list of tensors.
            convert_to_tensor: return one tensor instead.

        Returns:
            The score of each pair [pairs] in float32; of one pair, its only score.
        """
        expect_neutral(neutral, _NEUTRAL)
        single = len(inputs) == 2 and all(isinstance(text, str) for text in inputs)
        scores = torch.tensor(score_pairs(self.reranker, [tuple(inputs)] if single else inputs), dtype=torch.float32)
        found = scores if convert_to_tensor else scores.numpy() if convert_to_numpy else list(scores)
        return found[0] if single else found

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        **neutral: Any,
    ) -> list[dict[str, Any]]:
        """Return the `top_k` best documents (None: all), best first: their `corpus_id`, `score` and optional `text`."""
        expect_neutral(neutral, _NEUTRAL)
        return [
            {"corpus_id": r.index, "score": r.score} | ({"text": r.text} if return_documents else {})
            for r in self.reranker.rank(query, list(documents), top_k)
        ]
