"""Passages of every supported form are read with ids, texts, metadata and the original object."""

from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from headrank import Passage
from headrank.reranker.documents import read_documents, read_lists


class LangChainDocument:
    def __init__(self, page_content, metadata=None, id=None):
        self.page_content, self.metadata, self.id = page_content, metadata or {}, id


class LlamaIndexNode:
    def __init__(self, text, node_id, metadata=None):
        self._text, self.node_id, self.metadata = text, node_id, metadata or {}

    def get_content(self, metadata_mode="none"):
        return self._text


class LlamaIndexNodeWithScore:
    def __init__(self, node, score=None):
        self.node, self.score = node, score


class HaystackDocument:
    def __init__(self, content, id, meta=None):
        self.content, self.id, self.meta = content, id, meta or {}


class PolarsFrame:
    """The attributes of a polars DataFrame that reading uses. Iterating one gives its columns."""

    def __init__(self, columns):
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name):
        return SimpleNamespace(to_list=lambda: list(self._columns[name]))

    def __iter__(self):
        return iter(self._columns.values())


class PolarsSeries:
    """A polars Series, as far as reading uses it."""

    def __init__(self, values):
        self._values = values

    def to_list(self):
        return list(self._values)

    def __iter__(self):
        return iter(self._values)

    def __getitem__(self, index):
        return self._values[index]


def parts(passages):
    return [(d.id, d.text, d.metadata) for d in read_documents(passages)]


Pair = namedtuple("Pair", "id text")
NODE = LlamaIndexNode("sky", "n1", {"page": 3})


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("sky", (0, "sky", {})),
        (Passage("p", "sky"), ("p", "sky", {})),
        ({"text": "sky"}, (0, "sky", {})),
        ({"contents": "sky", "docid": "a"}, ("a", "sky", {})),
        ({"content": "sky", "doc_id": 7}, (7, "sky", {})),
        ({"passage": "sky", "_id": "a"}, ("a", "sky", {})),
        ({"id": "a", "title": "Blue", "text": "sky", "year": 1999}, ("a", "Blue sky", {"year": 1999})),
        ({"id": "a", "title": "", "text": "sky"}, ("a", "sky", {})),
        ({"id": None, "title": None, "text": "sky"}, (0, "sky", {})),
        ({"text": "sky", "content": "other", "id": 1, "_id": 2}, (1, "sky", {"content": "other", "_id": 2})),
        ({"text": "sky", "id": None, "doc_id": "a", "_id": 2}, ("a", "sky", {"_id": 2})),
        (("a", "sky"), ("a", "sky", {})),
        ([7, "sky"], (7, "sky", {})),
        (Pair("a", "sky"), ("a", "sky", {})),
        (LangChainDocument("sky", {"page": 3}), (0, "sky", {"page": 3})),
        (LangChainDocument("sky", id="a"), ("a", "sky", {})),
        (NODE, ("n1", "sky", {"page": 3})),
        (LlamaIndexNodeWithScore(NODE, 0.5), ("n1", "sky", {"page": 3})),
        (HaystackDocument("sky", "h", {"page": 3}), ("h", "sky", {"page": 3})),
        (SimpleNamespace(content="sky", id="h", meta=None), ("h", "sky", {})),
    ],
)
def test_one_passage(item, expected):
    (document,) = read_documents([item])
    assert (document.id, document.text, document.metadata) == expected
    assert type(document.id) is type(expected[0])
    assert document.source is item


def test_all_forms_in_one_list():
    mixed = ["a", {"text": "b", "id": "x"}, (5, "c"), NODE]
    assert [d.id for d in read_documents(mixed)] == [0, "x", 5, "n1"]


def test_mappings_of_ids_to_texts():
    assert parts({"a": "x", 3: "y"}) == [("a", "x", {}), (3, "y", {})]
    assert [d.source for d in read_documents({"a": "x"})] == ["x"]


@pytest.mark.parametrize("value", [np.int64(7), np.int32(7), np.str_("a")])
def test_numpy_ids_become_pythons(value):
    for passages in ([{"id": value, "text": "x"}], [(value, "x")], {value: "x"}):
        ((found, _, _),) = parts(passages)
        assert found == value
        assert type(found) in (int, str)


def test_iterators_are_read_once():
    assert parts(text for text in ("x", "y")) == [(0, "x", {}), (1, "y", {})]
    assert parts(map(str, [1, 2])) == [(0, "1", {}), (1, "2", {})]
    shared = iter(["x", "y"])
    read = list(read_lists([("first query", shared), ("second query", shared)]))
    assert [[p.text for p in item.passages] for item, _ in read] == [["x", "y"]] * 2


def test_an_iterator_that_returns_after_another_pair_is_an_error():
    shared = iter(["x", "y"])
    with pytest.raises(ValueError, match=r"lists\[2\].*lists\[0\]"):
        list(read_lists([("first", shared), ("second", ["z"]), ("third", shared)]))
    assert len(list(read_lists(("query", iter(["x"])) for _ in range(3)))) == 3, "other iterators may follow"


def test_a_list_that_changes_between_pairs_is_read_anew():
    def pairs():
        buffer = []
        for text in ("x", "y"):
            buffer.append(text)
            yield "query", buffer

    assert [len(item) for item, _ in read_lists(pairs())] == [1, 2]


@pytest.mark.parametrize("frame", [pd.DataFrame, PolarsFrame])
def test_data_frames(frame):
    rows = read_documents(frame({"text": ["x", "y"], "id": [11, 12], "year": [1999, 2000]}))
    assert [(d.id, d.text, d.metadata) for d in rows] == [(11, "x", {"year": 1999}), (12, "y", {"year": 2000})]
    assert all(type(d.id) is int for d in rows)
    assert rows[1].source == {"text": "y", "id": 12, "year": 2000}
    assert parts(frame({"text": ["x", "y"]})) == [(0, "x", {}), (1, "y", {})]
    assert parts(frame({"text": []})) == []
    with pytest.raises(ValueError, match=r"txt.*did you mean text"):
        read_documents(frame({"txt": ["x"]}))
    with pytest.raises(TypeError, match=r"passages\[1\]"):
        read_documents(frame({"text": ["x", None]}))


def test_pandas_titles_may_be_missing_and_its_index_is_no_id():
    frame = pd.DataFrame({"text": ["x", "y"], "title": ["T", None]}, index=[30, 40])
    assert parts(frame) == [(0, "T x", {}), (1, "y", {})]
    frame["title"] = frame["title"].astype("string")
    assert parts(frame) == [(0, "T x", {}), (1, "y", {})]


def test_columns_of_one_name():
    with pytest.raises(ValueError, match="text, text"):
        read_documents(pd.DataFrame([["x", "y"]], columns=["text", "text"]))


@pytest.mark.parametrize("series", [pd.Series, PolarsSeries, np.array])
def test_series(series):
    assert parts(series(["x", "y"])) == [(0, "x", {}), (1, "y", {})]


@pytest.mark.parametrize(
    ("passages", "kind", "named"),
    [
        (["x", {"id": "a", "txt": "y"}], ValueError, r"passages\[1\].*'txt'.*did you mean text"),
        ([{}], ValueError, r"passages\[0\]"),
        ([{"id": "a", "text": None}], TypeError, r"text of passages\[0\], id 'a', is None"),
        ([{"id": 1.0, "text": "x"}], TypeError, r"id of passages\[0\] is 1\.0 \(float\)"),
        ([{"id": True, "text": "x"}], TypeError, r"id of passages\[0\] is True"),
        ([{"title": 3, "text": "x"}], TypeError, r"title of passages\[0\] is 3"),
        ([("x", "y", "z")], TypeError, r"passages\[0\].*tuple"),
        ([("a", 3)], TypeError, r"text of passages\[0\], id 'a', is 3"),
        ([(None, "x")], TypeError, r"id of passages\[0\] is None"),
        ([HaystackDocument(None, "h")], TypeError, r"text of passages\[0\], id 'h', is None"),
        ([SimpleNamespace(content="x", id="h", meta=[1])], TypeError, r"metadata of passages\[0\], id 'h', is \[1\]"),
        ([object()], TypeError, r"passages\[0\] is <object"),
        ({"id": "a", "text": "one passage"}, ValueError, "'text'"),
        ({None: "x"}, TypeError, r"id of passages\[None\]"),
        (3, TypeError, "passages is 3"),
        ("one text", ValueError, "one text"),
    ],
)
def test_errors_name_the_item(passages, kind, named):
    with pytest.raises(kind, match=named):
        read_documents(passages)


@pytest.mark.parametrize(
    "passages",
    [
        [("a", "x"), ("b", "y"), ("a", "z")],
        [Passage("a", "x"), "y", {"id": "a", "text": "z"}],
        [(1, "x"), ("b", "y"), ("1", "z")],
        [(2, "x"), ("b", "y"), "z"],
    ],
)
def test_repeated_ids_name_both_positions(passages):
    with pytest.raises(ValueError, match="positions 0 and 2"):
        read_documents(passages)
