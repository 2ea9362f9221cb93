"""Compute passage scores from a language model's attention: load it, build prompts, read head scores, score."""

from headrank.model.backbone import (
    Backbone,
    BackboneSettings,
    check_backbone,
    count_layers,
    count_parameters,
    load_backbone,
    load_tokenizer,
    save_backbone,
)
from headrank.model.batching import BatchSettings
from headrank.model.blocks.store import PassageStates, StateSettings
from headrank.model.calibration import Calibration, CalibrationSettings, LengthNorm, head_calibrated, passage_scores
from headrank.model.chat_templates import CHAT_TEMPLATES, PUBLISHED_TEMPLATES, ChatTemplate
from headrank.model.cost import (
    ModelShape,
    ReadingFlops,
    backbone_shape,
    fully_computed_layers,
    model_shape,
    reading_flops,
)
from headrank.model.forward import read_head_scores, read_several_rows
from headrank.model.head_scores import Head, HeadScores, TokenScores, all_heads
from headrank.model.identity import describe_model, model_identity, weights_fingerprint
from headrank.model.loading.default_model import EMBEDDED_MODEL
from headrank.model.loading.default_model import PACKAGE as EMBEDDED_PACKAGE
from headrank.model.plain_text import CutCounts, cuts_text, plain_text_tokenizer
from headrank.model.prompt import Prompt, PromptBuilder, PromptSettings, Span, Tail
from headrank.model.reader import ListReader, Reading
from headrank.model.scorer import ScoredList, Scorer, ScorerSettings

__all__ = [
    "CHAT_TEMPLATES",
    "EMBEDDED_MODEL",
    "EMBEDDED_PACKAGE",
    "PUBLISHED_TEMPLATES",
    "Backbone",
    "BackboneSettings",
    "BatchSettings",
    "Calibration",
    "CalibrationSettings",
    "ChatTemplate",
    "CutCounts",
    "Head",
    "HeadScores",
    "LengthNorm",
    "ListReader",
    "ModelShape",
    "PassageStates",
    "Prompt",
    "PromptBuilder",
    "PromptSettings",
    "Reading",
    "ReadingFlops",
    "ScoredList",
    "Scorer",
    "ScorerSettings",
    "Span",
    "StateSettings",
    "Tail",
    "TokenScores",
    "all_heads",
    "backbone_shape",
    "check_backbone",
    "count_layers",
    "count_parameters",
    "cuts_text",
    "describe_model",
    "fully_computed_layers",
    "head_calibrated",
    "load_backbone",
    "load_tokenizer",
    "model_identity",
    "model_shape",
    "passage_scores",
    "plain_text_tokenizer",
    "read_head_scores",
    "read_several_rows",
    "reading_flops",
    "save_backbone",
    "weights_fingerprint",
]
