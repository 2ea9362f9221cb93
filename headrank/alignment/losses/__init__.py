"""Losses of alignment: functions of one list's scores and its grades or teacher's scores, independent of models."""

from headrank.alignment.losses.base import ListwiseInput, Loss
from headrank.alignment.losses.combined import WeightedLosses
from headrank.alignment.losses.contrastive import InfoNCE, QRRankerLoss
from headrank.alignment.losses.distillation import MarginMSE, TeacherKL
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
    "MarginMSE",
    "NoLoss",
    "Preference",
    "QRRankerLoss",
    "Spread",
    "TeacherKL",
    "WeightedLosses",
]
