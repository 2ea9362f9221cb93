"""A collection whose number of passages differs from the published one: incomplete files are reported."""

import logging

import pytest

from headrank.data.bm25.index import BM25Parameters, bm25_index
from headrank.data.irds import IrDatasetsCollection
from headrank.data.local import LocalCollection


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("published", [4, 6])
def test_every_use_of_such_an_index_warns_with_both_counts_and_the_folder(make_folder, tmp_path, caplog, published):
    class Published(LocalCollection):
        published_passage_count = published

    collection = Published(make_folder())
    for _ in range(2):  # built, then found in the cache
        caplog.clear()
        folder = bm25_index(collection, BM25Parameters(), tmp_path / "cache").folder
        (warning,) = warnings(caplog)
        assert f" 5 passages, the published collection has {published}" in warning
        assert str(folder) in warning


@pytest.mark.parametrize("published", [5, None])
def test_a_whole_or_unpublished_collection_is_no_warning(make_folder, tmp_path, caplog, published):
    class Published(LocalCollection):
        published_passage_count = published

    bm25_index(Published(make_folder()), BM25Parameters(), tmp_path / "cache")
    assert not warnings(caplog)


def test_ir_datasets_knows_the_published_counts_without_files():
    assert IrDatasetsCollection("beir/nfcorpus/test").published_passage_count == 3633
    assert IrDatasetsCollection("msmarco-passage/trec-dl-2019/judged").published_passage_count == 8841823
