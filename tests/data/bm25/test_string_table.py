import pytest

from headrank.data.bm25.string_table import Texts, write_texts


@pytest.mark.parametrize(
    "texts", [[], [b""], [b"a", b"", "é日".encode(), b"a"], [f"{i}".encode() for i in range(9000)]]
)
def test_texts_come_back(tmp_path, texts):
    assert write_texts(tmp_path, "ids", iter(texts)) == len(texts)
    found = Texts(tmp_path, "ids")
    assert len(found) == len(texts)
    assert list(found) == texts
    assert [found[i] for i in range(len(texts))] == texts
    assert found[1:3] == texts[1:3]


def test_a_number_beyond_them_is_an_error(tmp_path):
    write_texts(tmp_path, "ids", [b"a"])
    for number in (1, -1):
        with pytest.raises(IndexError, match=f"index {number}"):
            Texts(tmp_path, "ids")[number]
