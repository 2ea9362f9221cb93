import shutil

import pytest

from tests.baselines.toy import chat_tokenizer, cross_encoder_folder, language_model, save_language_model


@pytest.fixture
def decoder(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "decoder")


@pytest.fixture
def generator(tmp_path):
    return save_language_model(tmp_path / "generator", language_model(chat_tokenizer(), tied=False))


@pytest.fixture
def encoder(tmp_path):
    return cross_encoder_folder(tmp_path / "encoder")
