"""`Reranker.rank` and `read_documents` take real objects of other libraries, and results hold them."""

import pytest

from headrank import Reranker
from headrank.reranker.documents import read_documents

TEXTS = ["The moon pulls the sea.", "", "Bread rises because of yeast."]
QUERY = "what causes tides"


@pytest.fixture(scope="module")
def reranker(model_folder) -> Reranker:
    return Reranker.from_pretrained(model_folder, [(1, 2), (0, 3)], device="cpu")


def langchain(ids):
    documents = pytest.importorskip("langchain_core.documents", reason="LangChain is not installed")
    return [documents.Document(t, id=i, metadata={"n": n}) for n, (i, t) in enumerate(zip(ids, TEXTS, strict=True))]


def llama_index(ids):
    schema = pytest.importorskip("llama_index.core.schema", reason="LlamaIndex is not installed")
    return [
        schema.TextNode(text=t, metadata={"n": n}, **({"id_": i} if i else {}))
        for n, (i, t) in enumerate(zip(ids, TEXTS, strict=True))
    ]


def llama_index_scored(ids):
    nodes = llama_index(ids)
    from llama_index.core.schema import NodeWithScore

    return [NodeWithScore(node=node, score=0.5) for node in nodes]


def llama_index_documents(ids):
    schema = pytest.importorskip("llama_index.core.schema", reason="LlamaIndex is not installed")
    return [schema.Document(text=t, id_=i, metadata={"n": n}) for n, (i, t) in enumerate(zip(ids, TEXTS, strict=True))]


def haystack(ids):
    dataclasses = pytest.importorskip("haystack", reason="Haystack is not installed")
    return [
        dataclasses.Document(id=i or "", content=t, meta={"n": n})
        for n, (i, t) in enumerate(zip(ids, TEXTS, strict=True))
    ]


def polars(ids):
    pl = pytest.importorskip("polars", reason="polars is not installed")
    return pl.DataFrame({"id": ids, "text": TEXTS, "n": range(3)})


def datasets(ids):
    library = pytest.importorskip("datasets", reason="datasets is not installed")
    return library.Dataset.from_dict({"id": ids, "text": TEXTS, "n": [0, 1, 2]})


LIBRARIES = [langchain, llama_index, llama_index_scored, llama_index_documents, haystack, polars, datasets]


@pytest.mark.parametrize("make", LIBRARIES, ids=lambda make: make.__name__)
def test_ids_texts_and_metadata(make, reranker):
    ids = ["b c", "1", "ü/0"]
    given = make(ids)
    results = reranker.rank(QUERY, given)
    plain = reranker.rank(QUERY, TEXTS)
    assert [(r.id, r.text, r.metadata, r.score) for r in results] == [
        (ids[r.index], TEXTS[r.index], {"n": r.index}, r.score) for r in plain
    ]
    assert reranker.rank_many([(QUERY, given)], top_k=9) == [results]
    if isinstance(given, list):
        assert all(r.document is given[r.index] for r in results)
    empty, one = (given.select(range(n)) if make is datasets else given[:n] for n in (0, 1))
    assert reranker.rank(QUERY, empty) == []
    assert [r.id for r in reranker.rank(QUERY, one)] == ids[:1]


def test_without_ids():
    assert [d.id for d in read_documents(langchain([None] * 3))] == [0, 1, 2]
    for make in (llama_index, haystack):
        given = make([None] * 3)
        assert [d.id for d in read_documents(given)] == [getattr(o, "node_id", None) or o.id for o in given]
    assert [d.id for d in read_documents(polars([None] * 3))] == [0, 1, 2]


def test_polars_titles_and_series():
    frame = polars([1, 2, 3])
    import polars as pl

    titled = frame.with_columns(title=pl.Series(["Sea", None, ""]))
    assert [(d.id, d.text) for d in read_documents(titled)] == [(1, "Sea " + TEXTS[0]), (2, ""), (3, TEXTS[2])]
    assert [d.text for d in read_documents(frame["text"])] == TEXTS
    with pytest.raises(TypeError, match=r"text of passages\[1\], id 2, is None"):
        read_documents(frame.with_columns(text=pl.Series(["x", None, "y"])))
    with pytest.raises(ValueError, match="txt"):
        read_documents(frame.rename({"text": "txt"}))


def test_a_haystack_document_without_text():
    haystack([None] * 3)
    from haystack import Document
    from haystack.dataclasses import ByteStream

    with pytest.raises(TypeError, match=r"text of passages\[0\]"):
        read_documents([Document(id="a", blob=ByteStream(b"x"))])


def test_a_polars_query_plan_is_refused():
    plan = polars([1, 2, 3]).lazy()
    with pytest.raises(TypeError, match="LazyFrame"):
        read_documents(plan)
