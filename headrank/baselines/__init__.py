"""Baseline rerankers with separate code; they take the same candidate lists as HeadRank and return rankings.

The attention-based baselines (ICR, QRHead, CoRe, Selective-ICR) are configurations of HeadRank and do not use this
package.
"""

from headrank.baselines.cross_encoder import CrossEncoderReranker
from headrank.baselines.generative import Generative
from headrank.baselines.protocol import ListReranker, Reranked, RerankerSettings
from headrank.baselines.qwen3_reranker import Qwen3Reranker
from headrank.baselines.replies import Permutation, read_permutation, reply_counts
from headrank.baselines.windows import SlidingWindows

__all__ = [
    "CrossEncoderReranker",
    "Generative",
    "ListReranker",
    "Permutation",
    "Qwen3Reranker",
    "Reranked",
    "RerankerSettings",
    "SlidingWindows",
    "read_permutation",
    "reply_counts",
]
