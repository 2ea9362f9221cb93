"""The settings that are not part of artifact keys, with the reasons.

An artifact key is a hash of everything that an artifact depends on. A field is left out if it changes results by
rounding at most, if it only names things, or if the data that it selects is in the key. Every other field is part of
the key of each artifact computed with its settings. `tests/stages/test_key_fields.py` lists those fields and fails
until a new field is in one of the two lists.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from headrank.alignment.pairs import PairSettings
from headrank.alignment.settings import AlignmentSettings, TrainerSettings
from headrank.baselines import CrossEncoderReranker, Generative, Qwen3Reranker
from headrank.data import DataSettings
from headrank.experiment import ReadingSettings
from headrank.model import BackboneSettings, ScorerSettings, StateSettings

MACHINE = "where and how fast it runs; results are equal up to rounding"
BATCHING = "the size of batches; results are equal up to rounding"
CONTENT = "the data it selects is in the keys: the lists, and fingerprints of passages, queries and judgements"

LEFT_OUT: Mapping[type, Mapping[str, str]] = {
    # Kernels compute the same attention. dtype is in the keys: rounding to 8 bits changes rankings.
    BackboneSettings: dict.fromkeys(("device", "kernel", "compile", "whole_deepest"), MACHINE),
    ScorerSettings: dict.fromkeys(("batch_size", "tokens_per_batch"), BATCHING),
    ReadingSettings: dict.fromkeys(("batch_size", "tokens_per_batch"), BATCHING),
    CrossEncoderReranker: {"batch_size": BATCHING},
    Generative: {"batch_size": BATCHING},
    Qwen3Reranker: {"batch_size": BATCHING},
    StateSettings: {"folder": "where states are stored", "keep": "whether new states are stored"},
    # `lists_per_step` is in the keys; its default depends on the number of processes.
    TrainerSettings: dict.fromkeys(
        ("accelerator", "devices", "num_nodes", "strategy", "gradient_checkpointing", "progress_bar"), MACHINE
    ),
    AlignmentSettings: {"draw_depth": CONTENT},
    # The keys of metrics and of artifacts from labelled lists add `relevance_threshold` themselves.
    DataSettings: {
        **dict.fromkeys(
            (
                "collection",
                "first_stage",
                "bm25",
                "run_path",
                "depth",
                "max_queries",
                "seed",
                "drop_identical_ids",
                "duplicates",
                "qrels",
                "title",
                "generated",
                "relevance_threshold",
                "labels",
                "teacher_levels",
            ),
            CONTENT,
        ),
        "name": "names files and rows",
        "notice": "text in the report",
        "licence": "text in the doctor's output",
        "lists_per_epoch": "the key of alignment, the only stage that reads it, adds it itself",
    },
}

ADDED: Mapping[type, Mapping[str, Any]] = {
    AlignmentSettings: {"average_decay": 0.0, "folds": 0, "relevant_in_zone": 0.0},
    PairSettings: {"min_margin": 0.5},
    ScorerSettings: {"shuffles": 1},
}
"""Fields that a later version added -> the value at which results equal those of earlier versions.

Keys leave a field out at this value, so that artifacts of earlier versions are reused.
"""


def _left_out(kind: type) -> Mapping[str, str]:
    """The fields that keys leave out of these settings, or of the settings that they extend."""
    return next((LEFT_OUT[one] for one in kind.__mro__ if one in LEFT_OUT), {})


def key_content(value: Any, *, stored: bool = False) -> Any:
    """Convert settings to the plain values that belong in an artifact key.

    A dataclass becomes a dict with the name of its class, without the fields in `LEFT_OUT` and those at their value in
    `ADDED`. Nested dataclasses are converted in the same way.

    value: an instance of a dataclass, a container of such instances, or a plain value.
    stored: whether an artifact stores the dataclass itself, so that its fields in `LEFT_OUT` count, too.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        left_out = {} if stored else _left_out(type(value))
        added = ADDED.get(type(value), {})
        values = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        kept = {k: v for k, v in values.items() if k not in left_out and not (k in added and added[k] == v)}
        return {"type": type(value).__qualname__, **{name: key_content(one) for name, one in kept.items()}}
    if isinstance(value, Mapping):
        return {name: key_content(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [key_content(item) for item in value]
    return value


def key_exclusions(value: Any) -> dict[str, Any]:
    """Return the fields of settings that `key_content` leaves out of artifact keys.

    value: an instance of a settings dataclass.

    Returns:
        Name -> value, for example `batch_size` -> 8. Nested settings that have such fields are a nested dict. Empty if
        `value` is not an instance of a dataclass.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return {}
    left_out = _left_out(type(value))
    values = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    nested = {name: key_exclusions(item) for name, item in values.items() if name not in left_out}
    return {name: values[name] for name in left_out} | {name: fields for name, fields in nested.items() if fields}


def scorer_key_content(scorer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scorer settings on which scores depend.

    scorer: the settings as plain values, see `ScorerSettings.to_dict`.

    The result is `scorer` without the fields in `LEFT_OUT` and those at their value in `ADDED`, without the seed if the
    order is not random, and without the power if the calibration is not `residual`. `fusion` keeps the name that it had
    in earlier versions, so that their artifacts are reused.
    """
    unused = set(LEFT_OUT[ScorerSettings])
    unused |= {name for name, value in ADDED[ScorerSettings].items() if scorer[name] == value}
    if scorer["order"] in ("first_stage", "reversed", "both"):
        unused.add("seed")
    if scorer["calibration"] != "residual":
        unused.add("power")
    return {"fusion_alpha" if name == "fusion" else name: value for name, value in scorer.items() if name not in unused}
