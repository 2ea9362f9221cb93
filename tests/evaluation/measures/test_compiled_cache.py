"""The folder of compiled code is one that nobody else can write."""

import os
import stat
from pathlib import Path

import pytest

from headrank.evaluation.measures import compiled_cache
from headrank.evaluation.measures.compiled_cache import compiled_code_folder, is_private

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX owners and modes")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The user's cache folder, in which all folders above are private."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(compiled_cache, "user_cache_path", lambda name: folder / name)
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refused(caplog, cache: Path) -> None:
    """Another folder is used, private and told of."""
    folder = compiled_code_folder()
    assert cache not in folder.parents
    assert mode(folder) == 0o700
    assert is_private(folder)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(cache / "headrank-compiled") in record.getMessage()


def test_it_is_made_for_the_user_alone(cache, caplog):
    folder = compiled_code_folder()
    assert folder == cache / "headrank-compiled"
    assert mode(folder) == 0o700
    assert compiled_code_folder() == folder
    assert not caplog.records


@pytest.mark.parametrize("bits", [0o770, 0o702, 0o720])
def test_a_folder_that_others_could_write_is_not_used(cache, caplog, bits):
    """Closing it now would keep what they have put there."""
    (cache / "headrank-compiled").mkdir()
    (cache / "headrank-compiled").chmod(bits)
    refused(caplog, cache)


def test_a_folder_that_others_can_replace_is_not_used(cache, caplog):
    cache.chmod(0o777)
    refused(caplog, cache)


def test_a_link_is_not_followed(cache, caplog, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (cache / "headrank-compiled").symlink_to(tmp_path / "elsewhere")
    refused(caplog, cache)


def test_another_users_folder_is_not_private(cache, monkeypatch):
    folder = compiled_code_folder()
    assert is_private(folder)
    owner = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: owner + 1)
        assert not is_private(folder)


def test_a_folder_that_cannot_be_made_is_not_used(cache, caplog):
    (cache / "headrank-compiled").write_text("a file")
    refused(caplog, cache)


@pytest.mark.parametrize(
    ("outer", "inner", "private"),
    [
        (0o755, 0o755, True),
        (0o755, 0o1777, True),
        (0o755, 0o777, False),
        (0o755, 0o775, False),
        (0o777, 0o755, False),
        (0o777, 0o700, True),  # nobody else gets in
        (0o700, 0o777, False),  # open below the closed one: not used, though nobody gets there
    ],
)
def test_folders_above_count(tmp_path, outer, inner, private):
    folder = tmp_path / "outer" / "inner" / "mine"
    folder.mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    folder.parent.chmod(inner)
    (tmp_path / "outer").chmod(outer)
    assert is_private(folder) == private
