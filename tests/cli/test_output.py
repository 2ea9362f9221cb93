"""An output that is written step by step: what a kill may leave, and what is never mixed."""

import pytest

from headrank.cli.output import ResumableOutput
from headrank.errors import ConfigError, InUseError


def test_steps_of_another_key_are_never_continued(tmp_path, monkeypatch):
    """A is killed after a step, B in its first step: A must not take B's bytes for its own."""
    path = tmp_path / "out.trec"
    a = ResumableOutput(path, "A")
    a.write("AAAA\n", {"done": 1})
    a.close()
    b = ResumableOutput(path, "B")
    assert b.state == {}
    b._file.write(b"BBBBBBBBBB\n")  # a step whose record was not written
    b.close()
    again = ResumableOutput(path, "A")
    assert again.state == {}
    again.write("AAAA\n", {"done": 1})
    again.finish()
    assert path.read_text() == "AAAA\n"
    assert [file.name for file in tmp_path.iterdir()] == ["out.trec"]


def test_one_process_at_a_time(tmp_path):
    first = ResumableOutput(tmp_path / "out", "A")
    with pytest.raises(InUseError, match="out"):
        ResumableOutput(tmp_path / "out", "A")
    first.finish()


def test_a_folder_is_refused_at_once(tmp_path):
    with pytest.raises(ConfigError, match=str(tmp_path)):
        ResumableOutput(tmp_path, "A", overwrite=True)
