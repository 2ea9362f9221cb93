"""Judgements: TREC's form and BEIR's, read and written."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrank.data.qrels import read_qrels, write_qrels
from headrank.errors import FormatError
from tests.data.test_trec import IDS


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("qrels") / "file"


@pytest.mark.parametrize(
    "text",
    ["q 0 a 1\nq 0 b 0\np 0 a -1\n", "query-id\tcorpus-id\tscore\nq\ta\t1\r\nq\tb\t0.0\np\ta\t-1.\n\n"],
)
def test_the_forms_of_trec_and_beir_are_the_same(tmp_path, text):
    (tmp_path / "qrels.txt").write_text(text)
    (tmp_path / "qrels.txt.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    for name in ("qrels.txt", "qrels.txt.gz"):
        assert read_qrels(tmp_path / name) == {"q": {"a": 1, "b": 0}, "p": {"a": -1}}


def test_beirs_form_has_three_columns(tmp_path):
    file = tmp_path / "test.tsv"
    file.write_text("query-id\tcorpus-id\tscore\nq\ta\t1\nq\t0\tb\t1\n")
    with pytest.raises(FormatError, match=r"test\.tsv:3: 4 columns"):
        read_qrels(file)


@given(
    qrels=st.dictionaries(IDS, st.dictionaries(IDS, st.integers(-(10**17), 10**17), min_size=1, max_size=5), max_size=4)
)
def test_qrels_come_back_the_same_and_in_order(path, qrels):
    write_qrels(path, qrels)
    back = read_qrels(path)
    assert back == qrels
    assert [(q, list(judged)) for q, judged in back.items()] == [(q, list(judged)) for q, judged in qrels.items()]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q 0 b\n", "3 columns .*expected 4 columns"),
        ("q\tb\t1\n", "3 columns .*query-id corpus-id score"),
        ("q 0 b 1.5\n", r"'1\.5'"),
        ("q 0 b 1.0e0\n", r"'1\.0e0'"),
        ("q 0 b yes\n", "grade 'yes'"),
        ("q 0 b " + "9" * 5000 + "\n", "grade '999"),
        ("q 0 a 2\n", "a second judgement of passage 'a' for query 'q'"),
        ("\nq 0 b 1\n", "a blank line"),
    ],
)
def test_a_bad_qrels_line_is_named(tmp_path, line, message):
    file = tmp_path / "bad.txt"
    file.write_text("q 0 a 1\n" + line)
    with pytest.raises(FormatError, match=rf"bad\.txt:2: .*{message}"):
        read_qrels(file)


@pytest.mark.parametrize("grade", [True, 10**18])
def test_a_grade_that_no_reader_takes_is_not_written(tmp_path, grade):
    with pytest.raises(ValueError, match="grade"):
        write_qrels(tmp_path / "out", {"q": {"a": grade}})


@pytest.mark.parametrize("bad", ["", "a b", "\ud800"])
def test_ids_that_a_file_cannot_hold_are_not_written(tmp_path, bad):
    with pytest.raises(ValueError, match=r"is empty|U\+"):
        write_qrels(tmp_path / "out", {"q": {bad: 1}})
    assert list(tmp_path.iterdir()) == []
