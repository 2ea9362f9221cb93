"""Overrides of every key of the configuration: they work, or an error of this package names the key and the value."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from headrank.run import compose_config, experiment_from_config
from tests.fuzz.reports import CHECKED, outcome

FEW = settings(CHECKED, max_examples=30)  # each composes the whole configuration

WORDS = {
    "defaults": [],
    "everything": [
        "alignment=lora",
        "baselines=[icr,core,qrhead,selective_icr,random_heads,generative,qwen3_reranker,cross_encoder]",
        "benchmarks=[sample,nfcorpus]",
        "data=[sample,trec_dl_2021]",
    ],
}
VALUES = (
    "null", "true", "-1", "0", "1", "1.5", "-0.5", "1e999", "nan", "-inf", "9" * 30, "abc", "''", "' '", "a/b", "../x",
    "[]", "[1,2]", "['a']", "[null]", "[[0.5,0]]", "{}", "{a:1}", "'$'", "'數'", "'a,b=c'", "${oc.env:NO_SUCH_NAME_X}",
    "${nothing}", "${seed}", "'" + "x" * 300 + "'",
)  # fmt: skip


@cache
def keys(name: str) -> list[str]:
    """Every key of the composed configuration, sections too, but Hydra's own and the classes' names."""
    return sorted(_below(compose_config(WORDS[name]), ""))


def _below(node: Any, prefix: str) -> list[str]:
    found: list[str] = []
    if isinstance(node, DictConfig):
        for name in node:
            key = f"{prefix}{name}"
            if name != "_target_" and key not in ("hydra", "paths"):
                value = node._get_node(name)
                found += [key, *_below(value, f"{key}.")]
    return found


def built(words: list[str]) -> Any:
    return experiment_from_config(compose_config(words), Path("unused"))


@pytest.mark.parametrize("name", WORDS)
@given(data=st.data())
@FEW
def test_a_value(name, data):
    key = data.draw(st.sampled_from(keys(name)))
    value = data.draw(st.sampled_from(VALUES))
    found, message = outcome(lambda: built([*WORDS[name], f"{key}={value}"]))
    if message is not None:
        names_key(message, key)
    else:
        assert found.benchmarks
        OmegaConf.create(found.config_yaml)  # the record can be read back


@given(key=st.text("abcde._+~=-$é ", min_size=1, max_size=8), value=st.sampled_from(VALUES))
@FEW
def test_a_key_that_does_not_exist(key, value):
    _, message = outcome(lambda: built([f"{key}={value}"]))
    if message is not None:
        assert key.strip("+~= ")[:3] in message or "=" in message


@given(word=st.text("abcdes=[]{},:'\"\\${}()~+ 0.5\n", max_size=12))
@FEW
def test_a_word_of_any_form(word):
    _, message = outcome(lambda: built([word]))
    assert message is None or len(message) > 10


def names_key(message: str, key: str) -> None:
    """The message names the key, or the section or the reference in it that cannot be, and says more than that."""
    assert any(part in message for part in (*key.split("."), "${")), message
    assert len(message) > len(key) + 5
