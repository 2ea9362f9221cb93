"""The reader of attention: prompts, the attention hook, backbones, head scores and passage scores."""

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
from headrank.model.calibration import Calibration, LengthNorm, passage_scores
from headrank.model.cuts import CutCounts, cuts_text
from headrank.model.embedded import EMBEDDED_MODEL
from headrank.model.embedded import PACKAGE as EMBEDDED_PACKAGE
from headrank.model.files import ModelFiles, model_files
from headrank.model.flops import ReadingFlops, floor_flops, measured_matmul_rate, reading_flops, whole_layers
from headrank.model.footprint import ModelShape, backbone_shape, model_shape
from headrank.model.head_scores import Head, HeadScores, TokenScores, all_heads
from headrank.model.identity import describe_model, model_identity, weights_fingerprint
from headrank.model.language_model import (
    LanguageModel,
    check_language_model,
    context_tokens,
    load_language_model,
)
from headrank.model.layouts import LAYOUTS, RELEASED, Layout
from headrank.model.list_reader import ListReader, Order, Reading, context_order
from headrank.model.passage_states import PassageStates, StateSettings
from headrank.model.plain_text import plain_text_tokenizer
from headrank.model.prompt import Prompt, PromptBuilder, PromptSettings, Span, Tail
from headrank.model.reading import read_head_scores, read_several_rows
from headrank.model.scorer import ScoredList, Scorer, ScorerSettings

__all__ = [
    "EMBEDDED_MODEL",
    "EMBEDDED_PACKAGE",
    "LAYOUTS",
    "RELEASED",
    "Backbone",
    "BackboneSettings",
    "BatchSettings",
    "Calibration",
    "CutCounts",
    "Head",
    "HeadScores",
    "LanguageModel",
    "Layout",
    "LengthNorm",
    "ListReader",
    "ModelFiles",
    "ModelShape",
    "Order",
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
    "check_language_model",
    "context_order",
    "context_tokens",
    "count_layers",
    "count_parameters",
    "cuts_text",
    "describe_model",
    "floor_flops",
    "load_backbone",
    "load_language_model",
    "load_tokenizer",
    "measured_matmul_rate",
    "model_files",
    "model_identity",
    "model_shape",
    "passage_scores",
    "plain_text_tokenizer",
    "read_head_scores",
    "read_several_rows",
    "reading_flops",
    "save_backbone",
    "weights_fingerprint",
    "whole_layers",
]
