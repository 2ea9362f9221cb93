"""Check the options of `Reranker.from_pretrained`."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from headrank.errors import ConfigError
from headrank.heads import HeadsFile
from headrank.model import (
    BackboneSettings,
    PromptBuilder,
    PromptSettings,
    ScorerSettings,
    StateSettings,
    load_tokenizer,
)
from headrank.model.backbone import load_config
from headrank.model.chat_templates import check_embeddings
from headrank.reranker.values import expect_type, parse_count
from headrank.settings import meant

P = ParamSpec("P")
T = TypeVar("T")

SHORT_NAMES = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "half": "float16",
    "fp32": "float32",
    "float": "float32",
}  # names that other libraries use -> ours


def known_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function raise a `TypeError` that names the closest known argument for an unknown keyword argument."""
    known = [name for name in inspect.signature(function).parameters if name not in ("cls", "self")]

    @functools.wraps(function)
    def call(*args: P.args, **values: P.kwargs) -> T:
        unknown = [name for name in values if name not in known]
        if unknown:
            raise TypeError(
                f"{function.__qualname__} has no argument {unknown[0]!r}; expected {', '.join(known)}"
                f"{meant(unknown[0], known)}"
            )
        return function(*args, **values)

    return call


def dtype_name(dtype: str | torch.dtype) -> str:
    """Return the name of a dtype that is given by name or as `torch.dtype`; an unknown name is returned unchanged.

    Raises `ConfigError` for a short name of other libraries, such as bf16.
    """
    name = str(dtype).removeprefix("torch.")
    if name in SHORT_NAMES:
        raise ConfigError(f"dtype is {name!r}; did you mean {SHORT_NAMES[name]!r}?")
    return name


class Overrides:
    """Values that replace prompt and scorer settings of a heads file. None keeps the file's value.

    Args:
        prompt: `PromptSettings` that replace all prompt settings.
        scorer: `ScorerSettings` that replace all scorer settings.
        max_passage_tokens, max_query_tokens, instruction: single prompt settings; not together with `prompt`.
        batch_size: a single scorer setting; not together with `scorer`.

    Raises:
        ConfigError: `prompt` or `scorer` is given together with one of its settings, or a value is out of range.
        TypeError: a value does not have the type that is named above, or that of its setting.
    """

    def __init__(
        self,
        prompt: object,
        scorer: object,
        *,
        max_passage_tokens: object,
        max_query_tokens: object,
        instruction: object,
        batch_size: object,
    ) -> None:
        self.prompt = expect_type(prompt, (PromptSettings, type(None)), "prompt")
        self.scorer = expect_type(scorer, (ScorerSettings, type(None)), "scorer")
        of_prompt = {
            "max_passage_tokens": parse_count(max_passage_tokens, "max_passage_tokens"),
            "max_query_tokens": parse_count(max_query_tokens, "max_query_tokens"),
            "instruction": expect_type(instruction, (str, type(None)), "instruction"),
        }
        of_scorer = {"batch_size": parse_count(batch_size, "batch_size")}
        self.of_prompt, self.of_scorer = _given(of_prompt, prompt, "prompt"), _given(of_scorer, scorer, "scorer")

    def apply_to_prompt(self, prompt: PromptSettings) -> PromptSettings:
        """Return these prompt settings with the overrides."""
        return self.prompt or replace(prompt, **self.of_prompt)

    def apply(self, file: HeadsFile) -> HeadsFile:
        """Return the heads file with the overridden prompt and scorer settings."""
        scorer = self.scorer or replace(file.scorer, **self.of_scorer)
        return file.with_settings(prompt=self.apply_to_prompt(file.prompt), scorer=scorer)


def _given(fields: dict[str, Any], whole: object, name: str) -> dict[str, Any]:
    """The fields that are given."""
    given = {key: value for key, value in fields.items() if value is not None}
    if given and whole is not None:
        raise ConfigError(f"{', '.join(given)} and {name} are given; expected either, or {name} with these fields")
    return given


def read_states(states: object, prompt: PromptSettings) -> StateSettings | None:
    """Return the settings of stored passage states.

    Args:
        states: the settings, or a folder that `Reranker.index` filled (nothing is added to it). None: states are not
            stored, and None is returned.
        prompt: the prompt settings; stored states need its attention to be `blocks`.

    Raises:
        FileNotFoundError: the folder does not exist.
        TypeError: `states` has another type.
        ConfigError: the prompt's attention is not `blocks`.
    """
    if isinstance(states, str | Path):
        if not Path(states).expanduser().is_dir():
            raise FileNotFoundError(f"states is {str(states)!r}, expected a folder that `index` filled")
        states = StateSettings(str(states), keep=False)
    found: StateSettings | None = expect_type(states, (StateSettings, type(None)), "states")
    if found is not None and not prompt.in_blocks:
        raise ConfigError(f"states are given, and prompt.attention is {prompt.attention!r}; expected 'blocks'")
    return found


def check_prompt(settings: BackboneSettings, prompt: PromptSettings) -> None:
    """Raise `ConfigError` if the tokenizer or the model lacks a token of the prompt's chat template. Reads no weights.

    Nothing is checked if the template is `auto` and unchanged.
    """
    if prompt.chat_template == "auto" and prompt.head is prompt.tail is prompt.separator is None:
        return  # the tokenizer's own
    tokenizer = load_tokenizer(settings)
    check_embeddings(PromptBuilder(tokenizer, prompt).chat_template, tokenizer, load_config(settings))
