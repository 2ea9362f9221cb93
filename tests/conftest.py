"""Fixtures: no network, no GPU, one thread, tiny random models, a toy tokenizer and collection."""

import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # on the processor everywhere, to the bit; =0 to try a GPU
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_ERROR_REPORTING"] = "false"  # wandb's reports of its own errors
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # Haystack's statistics of use

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.tiny import tiny_backbone, tiny_tokenizer

torch.set_num_threads(1)  # the suite runs in several processes; threads of each would fight for the cores


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with ChatML's special tokens and Qwen3's non-special `<think>`."""
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def backbone(tokenizer):
    """A random Qwen3 of three layers, grouped-query attention 4 over 2."""
    return tiny_backbone("qwen3", tokenizer)


@pytest.fixture(scope="session")
def model_folder(backbone, tmp_path_factory) -> Path:
    """The tiny Qwen3 as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("model") / "tiny-qwen3"
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
    return folder


PASSAGES = {
    "d1": "The moon pulls the sea and makes the tides.",
    "d2": "Tides rise and fall twice a day.",
    "d3": "A lighthouse warns ships of rocks.",
    "d4": "Ships wait for the tide before they enter the harbour.",
    "d5": "Bread rises because of yeast.",
}
QUERIES = {
    "q1": "what causes tides",
    "q2": "how do ships avoid rocks",
    "q3": "why does bread rise",
    "q4": "no judgement",
}
QRELS = {"q1": {"d1": 3, "d2": 1, "d3": 0}, "q2": {"d3": 2, "d4": 1}, "q3": {"d5": 1}}
RUN = {"q1": ["d2", "d1", "d4"], "q2": ["d4", "d3"], "q3": ["d5", "d1"], "q4": ["d1"]}


@pytest.fixture
def make_folder(tmp_path):
    """Writes a collection's folder; any part can be replaced (text as it is, None for no such file)."""

    def make(name="folder", *, docs=PASSAGES, queries=QUERIES, qrels=QRELS, run=RUN, **texts):
        folder = tmp_path / name
        folder.mkdir()
        content = {
            "docs.jsonl": "".join(json.dumps({"doc_id": i, "text": t}) + "\n" for i, t in docs.items()),
            "queries.tsv": "".join(f"{i}\t{t}\n" for i, t in queries.items()),
            "qrels.txt": "".join(f"{q} 0 {d} {g}\n" for q, judged in qrels.items() for d, g in judged.items()),
        }
        if run is not None:
            content["bm25.trec"] = "".join(
                f"{q} Q0 {d} {r} {10.0 - r} bm25\n" for q, ids in run.items() for r, d in enumerate(ids, 1)
            )
        content |= {key.replace("__", "."): text for key, text in texts.items()}
        for file, text in content.items():
            if text is not None:
                (folder / file).write_text(text, encoding="utf-8")
        return folder

    return make


@pytest.fixture
def experiment(make_folder, model_folder, tmp_path):
    """A whole experiment without alignment: two benchmarks, three systems, `tmp_path / "run"`."""
    from tests.pipelines import tiny_experiment  # late: most tests need no pipeline

    return tiny_experiment(make_folder(), model_folder, tmp_path)
