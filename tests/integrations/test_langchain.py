"""LangChain's documents come back reranked, with their ids and metadata."""

import asyncio

import pytest
from hypothesis import given
from pydantic import ValidationError

from tests.integrations.candidates import QUERY, TEXTS, candidates, counts, few, ranked

pytest.importorskip("langchain_core", reason="LangChain is not installed (extra `langchain`)")

from langchain_core.documents import Document
from langchain_core.documents.compressor import BaseDocumentCompressor

from headrank.integrations.langchain import HeadRankCompressor


@few
@given(given=candidates, count=counts)
def test_ids_metadata_and_texts_are_kept(given, count, calibrated):
    documents = [Document(text, id=id, metadata=metadata) for id, text, metadata in given]
    before = [document.model_copy(deep=True) for document in documents]
    compressor = HeadRankCompressor(model=calibrated, top_n=count)
    found = compressor.compress_documents(documents, QUERY)
    assert [(d.id, d.page_content, d.metadata) for d in found] == [
        (id, text, metadata | {"relevance_score": r.score, "relevance_probability": r.probability})
        for (id, text, metadata), r in ranked(calibrated, given, count)
    ]
    assert documents == before, "the given documents are unchanged"
    assert asyncio.run(compressor.acompress_documents(documents, QUERY)) == found


def test_without_a_probability_map_there_is_no_probability(reranker):
    (found,) = HeadRankCompressor(model=reranker, top_n=1).compress_documents(list(map(Document, TEXTS)), QUERY)
    assert list(found.metadata) == ["relevance_score"]
    assert found.id is None


def test_the_probability_of_an_earlier_reranker_is_dropped(reranker):
    document = Document("x", metadata={"relevance_probability": 0.9, "relevance_score": 0.9, "page": 3})
    (found,) = HeadRankCompressor(model=reranker).compress_documents([document], QUERY)
    assert found.metadata == {"page": 3, "relevance_score": reranker.rank(QUERY, ["x"])[0].score}


def test_a_model_by_its_name_with_options(model_folder, reranker):
    compressor = HeadRankCompressor(model=str(model_folder), heads="1-2, 0-3", device="cpu")
    assert isinstance(compressor, BaseDocumentCompressor)
    found = compressor.compress_documents([Document(text) for text in TEXTS], QUERY)
    assert [d.metadata["relevance_score"] for d in found] == [r.score for r in reranker.rank(QUERY, TEXTS)]


@pytest.mark.parametrize("options", [{"top_n": 0}, {"top_n": "x"}, {"model": 3}])
def test_wrong_values_are_refused(options, reranker):
    with pytest.raises(ValidationError, match=next(iter(options))):
        HeadRankCompressor(**{"model": reranker} | options)


def test_unknown_options_are_refused(model_folder, reranker):
    with pytest.raises(TypeError, match="haeds"):
        HeadRankCompressor(model=model_folder, haeds="all")
    with pytest.raises(TypeError, match="heads"):
        HeadRankCompressor(model=reranker, heads="all")
