import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrank.data.parsing import id_fault, numbered_lines, shown
from headrank.errors import FormatError


@given(text=st.text(max_size=6))
def test_a_faultless_id_is_one_column_for_every_reader(text):
    if id_fault(text) is None:
        assert text.split() == [text]
        assert text.splitlines() == [text]
        assert text.encode("utf-8").decode("utf-8-sig") == text


def test_only_newlines_end_a_line(tmp_path):
    file = tmp_path / "file"
    file.write_bytes("\ufeffa\u2028b\x0bc\r\nd\re\n\ufefff".encode())
    assert list(numbered_lines(file)) == [(1, "a\u2028b\x0bc"), (2, "d\re"), (3, "\ufefff")]


def test_blank_lines_at_the_end_are_ignored(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"a\r\n\r\n \t\n\n")
    assert list(numbered_lines(file)) == [(1, "a")]


def test_a_compressed_file_is_read_as_the_file_itself(tmp_path):
    file, plain = tmp_path / "file.gz", tmp_path / "file"
    plain.write_bytes("\ufeffa\r\nb\n".encode())
    file.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(numbered_lines(file)) == list(numbered_lines(plain))


@pytest.mark.parametrize(
    "damage", [lambda data: b"plain text", lambda data: data[:-9], lambda data: data[:20] + b"x" * 9]
)
def test_a_damaged_compressed_file_is_named(tmp_path, damage):
    file = tmp_path / "file.gz"
    file.write_bytes(damage(gzip.compress(b"abcdefgh\n" * 99)))
    with pytest.raises(FormatError, match=r"file\.gz: "):
        list(numbered_lines(file))


def test_a_blank_line_is_an_error_and_an_empty_file_is_not(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    assert list(numbered_lines(file)) == []
    file.write_text("a\n\nb\n")
    with pytest.raises(FormatError, match="file:2: a blank line"):
        list(numbered_lines(file))


def test_long_values_are_cut_in_errors():
    assert shown("x") == "'x'"
    assert len(shown("x" * 10**6)) < 120
