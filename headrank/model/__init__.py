"""The reader of attention: prompts, the attention hook, backbones, head scores and passage scores."""

from headrank.model.backbone import Backbone, BackboneSettings, count_layers, load_backbone, save_backbone
from headrank.model.batching import BatchSettings
from headrank.model.calibration import Calibration, LengthNorm, passage_scores
from headrank.model.embedded import EMBEDDED_MODEL
from headrank.model.head_scores import Head, HeadScores, TokenScores, all_heads
from headrank.model.layouts import LAYOUTS, Layout
from headrank.model.list_reader import ListReader, Order, Reading, context_order
from headrank.model.passage_states import PassageStates, StateSettings
from headrank.model.prompt import Prompt, PromptBuilder, PromptSettings, Span, Tail
from headrank.model.reading import read_head_scores, read_several_rows
from headrank.model.scorer import ScoredList, Scorer, ScorerSettings

__all__ = [
    "EMBEDDED_MODEL",
    "LAYOUTS",
    "Backbone",
    "BackboneSettings",
    "BatchSettings",
    "Calibration",
    "Head",
    "HeadScores",
    "Layout",
    "LengthNorm",
    "ListReader",
    "Order",
    "PassageStates",
    "Prompt",
    "PromptBuilder",
    "PromptSettings",
    "Reading",
    "ScoredList",
    "Scorer",
    "ScorerSettings",
    "Span",
    "StateSettings",
    "Tail",
    "TokenScores",
    "all_heads",
    "context_order",
    "count_layers",
    "load_backbone",
    "passage_scores",
    "read_head_scores",
    "read_several_rows",
    "save_backbone",
]
