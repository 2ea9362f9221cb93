"""Where a model's files come from: what is here costs no request, and the hub is asked once and briefly."""

import logging
import shutil
import socket
import time

import pytest
from huggingface_hub import HfApi, constants

from headrank.baselines.cross_encoder import open_cross_encoder
from headrank.baselines.language_model import load_language_model
from headrank.errors import ModelError
from headrank.model import BackboneSettings, count_layers, load_backbone
from headrank.model.loading import folder as module
from tests.baselines.toy import chat_tokenizer, cross_encoder_folder, language_model, save_language_model

COMMIT, NEWER = "0123456789abcdef0123456789abcdef01234567", "f" * 40


@pytest.fixture
def online(tmp_path, monkeypatch):
    """An empty cache, the network switched on, and every connection refused and counted."""
    attempts: list[object] = []

    def refuse(*address, **_):
        attempts.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("transformers.utils.hub.is_offline_mode", lambda: False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    module._commit.cache_clear()
    yield attempts
    module._commit.cache_clear()


def cached(tmp_path, folder, *, name="org/name", commit=COMMIT, reference=None):
    """The folder's files as the hub's cache keeps them."""
    repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / commit)
    if reference is not None:
        (repository / "refs").mkdir()
        (repository / "refs" / reference).write_text(commit)
    return repository


def hub(commit):
    """A hub that knows one commit; the requests that it got."""
    requests: list[tuple[str, str | None]] = []

    def model_info(self, repo, *, revision=None, timeout=None):
        assert timeout is not None
        assert timeout <= 10
        requests.append((repo, revision))
        return type("Info", (), {"sha": commit})()

    return model_info, requests


def test_a_commit_with_its_whole_snapshot_asks_nothing(online, model_folder, tmp_path):
    cached(tmp_path, model_folder)
    settings = BackboneSettings("org/name", COMMIT, device="cpu")
    assert load_backbone(settings, depth=2).depth == 2
    assert count_layers(settings) == (3, 4)
    cached(tmp_path, save_language_model(tmp_path / "m", language_model(chat_tokenizer())), name="org/generator")
    assert load_language_model(BackboneSettings("org/generator", COMMIT, device="cpu")).max_tokens == 4096
    cached(tmp_path, cross_encoder_folder(tmp_path / "c"), name="org/encoder")
    assert open_cross_encoder(BackboneSettings("org/encoder", COMMIT, device="cpu")).num_labels == 1
    assert online == []


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_snapshot_that_lacks_a_file_fails_soon_without_a_network(name, online, model_folder, tmp_path):
    repository = cached(tmp_path, model_folder)
    (repository / "snapshots" / COMMIT / name).unlink()
    start = time.monotonic()
    with pytest.raises(OSError, match="org/name"):
        load_backbone(BackboneSettings("org/name", COMMIT, device="cpu"))
    assert time.monotonic() - start < 10
    assert online


def test_without_a_revision_the_cache_serves_if_the_hub_is_silent(online, model_folder, tmp_path, caplog):
    cached(tmp_path, model_folder, reference="main")
    settings = BackboneSettings("org/name", device="cpu")
    start = time.monotonic()
    with caplog.at_level(logging.INFO, "headrank.model"):
        assert load_backbone(settings).depth == 3
        assert count_layers(settings) == (3, 4)
    assert time.monotonic() - start < 10
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert COMMIT in warnings[0]
    asked = len(online)
    assert load_backbone(settings).depth == 3
    assert len(online) == asked, "the hub was asked again"


def test_without_a_revision_the_hub_names_the_commit_once(online, model_folder, tmp_path, monkeypatch):
    repository = cached(tmp_path, model_folder, reference="main")
    cached_newer = repository / "snapshots" / NEWER
    shutil.copytree(model_folder, cached_newer)
    model_info, requests = hub(NEWER)
    monkeypatch.setattr(HfApi, "model_info", model_info)
    settings = BackboneSettings("org/name")
    assert settings.folder() == settings.folder("config.json") == cached_newer
    assert requests == [("org/name", None)]
    assert (repository / "refs" / "main").read_text() == NEWER  # what a run without a network will read
    assert online == []


def test_what_is_missing_is_downloaded_and_nothing_else(online, model_folder, tmp_path, monkeypatch):
    model_info, _ = hub(COMMIT)
    asked: list[list[str]] = []

    def download(model, *, revision, allow_patterns, ignore_patterns=()):
        asked.append(list(allow_patterns))
        folder = tmp_path / "hub" / "models--org--name" / "snapshots" / revision
        folder.mkdir(parents=True, exist_ok=True)
        for path in model_folder.iterdir():
            if any(path.match(pattern) for pattern in allow_patterns):
                shutil.copy(path, folder / path.name)
        return str(folder)

    monkeypatch.setattr(HfApi, "model_info", model_info)
    monkeypatch.setattr(module, "snapshot_download", download)
    settings = BackboneSettings("org/name", device="cpu")
    assert count_layers(settings) == (3, 4)
    assert asked == [["config.json"]]
    assert load_backbone(settings).depth == 3
    assert asked[-1] == ["model.safetensors"]
    done = len(asked)
    assert load_backbone(settings).depth == 3
    assert len(asked) == done


def test_a_hub_that_refuses_is_not_taken_for_a_silent_one(online, model_folder, tmp_path, monkeypatch):
    import httpx2
    from huggingface_hub.errors import RepositoryNotFoundError

    def refuse(self, repo, *, revision=None, timeout=None):
        request = httpx2.Request("GET", "https://hub")
        raise RepositoryNotFoundError("404", response=httpx2.Response(404, request=request))

    cached(tmp_path, model_folder, reference="main")
    monkeypatch.setattr(HfApi, "model_info", refuse)
    with pytest.raises(OSError, match="org/name"):
        load_backbone(BackboneSettings("org/name", device="cpu"))


@pytest.mark.parametrize("name", ["smollm2-135m", "SmolLM2-135M-Instruct", "smollm2-135-instruct", "smollm2"])
def test_a_near_miss_of_the_embedded_model_is_told_without_a_request(name, online):
    with pytest.raises(ModelError, match="smollm2-135m-instruct"):
        load_backbone(BackboneSettings(name))
    assert online == []


@pytest.mark.parametrize("name", ["outputs/nano/checkpoint", "a b", "x" * 200, "/none", "~/none-here", "../none"])
def test_a_name_that_can_be_no_hub_id_is_told_without_a_request(name, online):
    with pytest.raises(FileNotFoundError):
        load_backbone(BackboneSettings(name))
    assert online == []
