"""Train a model so that its selected attention heads rank relevant passages higher (alignment).

The losses compare passages of different grades; a regularizer shapes the scores of a whole candidate list. This package
exports settings, pairs and losses, which need no Lightning. Training is in `headrank.alignment.training`, which needs
the extra `train`.
"""

from headrank.alignment.adapters import TrainedSettings
from headrank.alignment.losses import (
    GradedKL,
    InfoNCE,
    LambdaRank,
    ListMLE,
    ListwiseInput,
    Loss,
    MarginMSE,
    NoLoss,
    Preference,
    QRRankerLoss,
    Spread,
    TeacherKL,
    WeightedLosses,
)
from headrank.alignment.optimizer import OptimizerSettings
from headrank.alignment.pairs import PairLevels, PairMining, Pairs, PairSettings, mine_pairs

__all__ = [
    "GradedKL",
    "InfoNCE",
    "LambdaRank",
    "ListMLE",
    "ListwiseInput",
    "Loss",
    "MarginMSE",
    "NoLoss",
    "OptimizerSettings",
    "PairLevels",
    "PairMining",
    "PairSettings",
    "Pairs",
    "Preference",
    "QRRankerLoss",
    "Spread",
    "TeacherKL",
    "TrainedSettings",
    "WeightedLosses",
    "mine_pairs",
]
