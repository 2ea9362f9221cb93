"""The warning of a reranker that cut texts."""

import logging
from collections.abc import Iterable

from headrank.model import CutCounts, PromptSettings, ScoredList

logger = logging.getLogger(__name__)


class CutWarning:
    """Warns of cut texts, once; the results of every call mark the cut passages."""

    def __init__(self, prompt: PromptSettings) -> None:
        self.prompt, self.given = prompt, False

    def __call__(self, lists: Iterable[ScoredList]) -> None:
        """Warn if texts of these lists were cut and no earlier call has warned."""
        cuts = CutCounts()
        for scored in lists:
            cuts.add(len(scored.ranking), len(scored.cut), query_cut=scored.query_cut)
        if self.given or not cuts:
            return
        self.given = True
        logger.warning(
            "cut %s: passages end after %s tokens, queries after %s (prompt.max_passage_tokens, max_query_tokens). "
            "RerankResult.truncated marks the passages; later calls do not warn",
            *(cuts, self.prompt.max_passage_tokens, self.prompt.max_query_tokens),
        )
