"""Head selection: finds the attention heads whose attention to passages reflects relevance."""

from headrank.heads.compatibility import check_model, check_shape
from headrank.heads.criteria import (
    AllHeads,
    Contrastive,
    Criterion,
    EntropyRegularized,
    GivenHeads,
    LayerWindow,
    PerHeadNdcg,
    QueryFocused,
    RandomHeads,
    check_labels,
)
from headrank.heads.cross_fitting import ScoredLabels, cross_fitted_scores
from headrank.heads.fusion import FusionFit, fit_fusion
from headrank.heads.heads_file import HeadsFile, heads_file, measures_table
from headrank.heads.measures import discriminability, entropy, ndcg
from headrank.heads.probability import ProbabilityCalibration
from headrank.heads.selection import Selection, choose_entropy_weight, head_curves, select_heads
from headrank.heads.table import HeadTable, LabelledScores, read_head_table

__all__ = [
    "AllHeads",
    "Contrastive",
    "Criterion",
    "EntropyRegularized",
    "FusionFit",
    "GivenHeads",
    "HeadTable",
    "HeadsFile",
    "LabelledScores",
    "LayerWindow",
    "PerHeadNdcg",
    "ProbabilityCalibration",
    "QueryFocused",
    "RandomHeads",
    "ScoredLabels",
    "Selection",
    "check_labels",
    "check_model",
    "check_shape",
    "choose_entropy_weight",
    "cross_fitted_scores",
    "discriminability",
    "entropy",
    "fit_fusion",
    "head_curves",
    "heads_file",
    "measures_table",
    "ndcg",
    "read_head_table",
    "select_heads",
]
