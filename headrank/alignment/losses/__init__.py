"""Losses of alignment: functions of the scores and grades of one list, independent of models."""

from headrank.alignment.losses.base import ListwiseInput, Loss
from headrank.alignment.losses.combined import WeightedLosses
from headrank.alignment.losses.contrastive import InfoNCE, QRRankerLoss
from headrank.alignment.losses.listwise import LambdaRank, ListMLE
from headrank.alignment.losses.pairwise import Preference
from headrank.alignment.losses.regularizers import GradedKL, NoLoss, Spread

__all__ = [
    "GradedKL",
    "InfoNCE",
    "LambdaRank",
    "ListMLE",
    "ListwiseInput",
    "Loss",
    "NoLoss",
    "Preference",
    "QRRankerLoss",
    "Spread",
    "WeightedLosses",
]
