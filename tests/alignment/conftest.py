"""Fixtures of the alignment tests."""

import pytest

from tests.tiny import tiny_backbone


@pytest.fixture
def fresh(tokenizer):
    """A random Qwen3 of three layers that may be changed."""
    return tiny_backbone("qwen3", tokenizer)
