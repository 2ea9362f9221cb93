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
