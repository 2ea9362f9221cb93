"""Alignment: training the chosen heads with preference pairs and a regularizer.

Pairs and losses are here, in plain torch; training itself needs the extra `train` and is imported by its own name.
"""

from headrank.alignment.losses import (
    GradedKL,
    InfoNCE,
    LambdaRank,
    ListMLE,
    ListwiseInput,
    Loss,
    NoLoss,
    Preference,
    QRRankerLoss,
    Spread,
    WeightedLosses,
)
from headrank.alignment.pairs import PairLevels, PairMining, Pairs, PairSettings, middle_zone, mine_pairs

__all__ = [
    "GradedKL",
    "InfoNCE",
    "LambdaRank",
    "ListMLE",
    "ListwiseInput",
    "Loss",
    "NoLoss",
    "PairLevels",
    "PairMining",
    "PairSettings",
    "Pairs",
    "Preference",
    "QRRankerLoss",
    "Spread",
    "WeightedLosses",
    "middle_zone",
    "mine_pairs",
]
