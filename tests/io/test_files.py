import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from headrank.io.files import atomic_folder, atomic_write, finish_replacing, replaced_folder


def test_text_is_written_as_utf8_with_its_own_newlines(tmp_path):
    path = tmp_path / "made" / "file.txt"
    with atomic_write(path) as handle:
        handle.write("a\nb\r\nü\u2028")
    assert path.read_bytes() == "a\nb\r\nü\u2028".encode()


def test_bytes(tmp_path):
    with atomic_write(tmp_path / "file", "wb") as handle:
        handle.write(b"\x00\xff")
    assert (tmp_path / "file").read_bytes() == b"\x00\xff"


def test_the_old_content_stays_until_the_block_ends(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_write(path) as handle:
        handle.write("new")
        handle.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half():
        with atomic_write(path) as handle:
            handle.write("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_leaves_no_half_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    code = (
        "import os, signal, sys\n"
        "from headrank.io.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as handle:\n"
        "    handle.write('half' * 100000)\n"
        "    handle.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    with atomic_write(tmp_path / "atomic"):
        pass
    assert stat.S_IMODE((tmp_path / "atomic").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_name_of_the_greatest_length(tmp_path):
    path = tmp_path / ("ü" * 127)  # 254 bytes
    with atomic_write(path) as handle:
        handle.write("x")
    assert path.read_text() == "x"


def test_a_folder_appears_whole(tmp_path):
    path = tmp_path / "made" / "folder"
    with atomic_folder(path) as folder:
        (folder / "file").write_text("x")
        assert not path.exists()
    assert (path / "file").read_text() == "x"
    assert os.listdir(path.parent) == ["folder"]


def test_a_failed_folder_does_not_appear(tmp_path):
    def write_half():
        with atomic_folder(tmp_path / "folder") as folder:
            (folder / "file").write_text("x")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_writers_of_a_folder_stays(tmp_path):
    path = tmp_path / "folder"
    with atomic_folder(path) as second:
        (second / "file").write_text("second")
        with atomic_folder(path) as first:
            (first / "file").write_text("first")
    assert (path / "file").read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_replaced_folder_is_the_old_or_the_new_one(tmp_path):
    path = tmp_path / "checkpoint"
    for text in ("old", "new"):
        with replaced_folder(path) as folder:
            (folder / "file").write_text(text)
        assert (path / "file").read_text() == text
    with pytest.raises(FileNotFoundError), replaced_folder(path) as folder:
        (folder / "file").rename(folder / "missing")
    assert (path / "file").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kill", [1, 2])
def test_a_kill_between_the_two_renames_of_a_replacement_is_mended(tmp_path, monkeypatch, kill):
    path = tmp_path / "checkpoint"
    path.mkdir()
    (path / "file").write_text("old")
    renames, rename = [], type(path).rename

    def killed(one, other):
        renames.append(one)
        if len(renames) == kill:
            raise SystemExit
        return rename(one, other)

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "rename", killed)
        with pytest.raises(SystemExit), replaced_folder(path) as folder:
            (folder / "file").write_text("new")
    assert path.exists() == (kill == 1)
    finish_replacing(path)
    assert (path / "file").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


FILL = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from safetensors.torch import save_file
from headrank.alignment.checkpoint_files import AtomicCheckpointIO
from headrank.data.bm25.string_table import write_texts
from headrank.io.files import atomic_folder, atomic_write

folder, values = Path(sys.argv[1]), np.zeros(10**6)

def text(path):
    with atomic_write(path) as file:
        file.writelines("abcdefgh\\n" for _ in range(10**6))

def npz(path):
    with atomic_write(path, "wb") as file:
        np.savez(file, values=values)

def npy(path):
    with atomic_folder(path) as scratch:
        np.save(scratch / "values.npy", values)

def raw(path):
    with atomic_folder(path) as scratch, (scratch / "values").open("wb") as file:
        values.tofile(file)

def texts(path):
    with atomic_folder(path) as scratch:
        write_texts(scratch, "words", (b"word" for _ in range(10**6)))

def safetensors(path):
    with atomic_write(path, "wb") as file:
        save_file({"values": torch.from_numpy(values)}, file.name)

def checkpoint(path):
    AtomicCheckpointIO().save_checkpoint({"values": torch.from_numpy(values)}, path)

resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))  # no file grows beyond 64 KiB
for write in (text, npz, npy, raw, texts, safetensors, checkpoint):
    try:
        write(folder / write.__name__)
    except OSError as error:
        print(write.__name__, Path(error.filename or "").name)
"""


def test_a_write_that_fails_names_its_target_whoever_writes(tmp_path):
    command = [sys.executable, "-c", FILL, str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, check=True, timeout=120, stdout=subprocess.PIPE, text=True)
    writers = ["text", "npz", "npy", "raw", "texts", "safetensors", "checkpoint"]
    assert done.stdout.splitlines() == [f"{name} {name}" for name in writers]
    assert not list(tmp_path.iterdir())
