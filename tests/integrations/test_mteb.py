"""MTEB evaluates the reranker on a reranking task in memory."""

import shutil

import pytest

from tests.integrations.candidates import QUERY, TEXTS

pytest.importorskip("mteb", reason="MTEB is not installed (extra `mteb`)")

import mteb
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.models_protocols import CrossEncoderProtocol

from headrank.integrations.mteb import HeadRankCrossEncoder

QUERIES = {"q1": QUERY, "q2": QUERY, "q3": "how is bread made"}
RANKED = {"q1": ["d0", "d1", "d2"], "q2": ["d4", "d3"], "q3": ["d3", "d2", "d1", "d0", "d4"]}
RELEVANT = {"q1": {"d0": 1}, "q2": {"d3": 1}, "q3": {"d2": 1}}


class TidesReranking(AbsTaskRetrieval):
    metadata = TaskMetadata(
        name="TidesReranking",
        type="Reranking",
        description="Three queries in memory.",
        reference="https://example.org",
        dataset={"path": "none", "revision": "1"},
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="map_at_1000",
        date=("2025-01-01", "2025-01-01"),
        domains=[],
        task_subtypes=[],
        license="cc0-1.0",
        annotations_creators="derived",
        dialect=[],
        sample_creation="created",
        bibtex_citation="",
    )

    def load_data(self, **kwargs):
        queries = Dataset.from_list([{"id": i, "text": text} for i, text in QUERIES.items()])
        corpus = Dataset.from_list([{"id": f"d{i}", "text": text, "title": "Sea"} for i, text in enumerate(TEXTS)])
        split = RetrievalSplitData(queries=queries, corpus=corpus, relevant_docs=RELEVANT, top_ranked=RANKED)
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


def test_a_reranking_task(reranker):
    encoder = HeadRankCrossEncoder(reranker)
    assert isinstance(encoder, CrossEncoderProtocol)
    done = mteb.evaluate(
        encoder, TidesReranking(), cache=None, encode_kwargs={"batch_size": 2}, show_progress_bar=False
    )
    precision = []
    for query_id, candidates in RANKED.items():
        texts = {document: f"Sea {TEXTS[int(document[1:])]}".strip() for document in candidates}
        (relevant,) = RELEVANT[query_id]
        precision.append(1 / next(r.rank for r in reranker.rank(QUERIES[query_id], texts) if r.id == relevant))
    assert done.task_results[0].get_score() == pytest.approx(sum(precision) / 3, abs=1e-5)  # five decimals


def test_the_models_metadata(reranker, model_folder):
    meta = HeadRankCrossEncoder(model_folder, heads="1-2, 0-3", device="cpu").mteb_model_meta
    assert meta.name == f"headrank/{model_folder.name}"
    assert meta.is_cross_encoder
    assert meta.revision == HeadRankCrossEncoder(reranker).mteb_model_meta.revision
    assert meta.revision != HeadRankCrossEncoder(model_folder, heads="1-2", device="cpu").mteb_model_meta.revision
    with pytest.raises(TypeError, match="haeds"):
        HeadRankCrossEncoder(model_folder, haeds="all")


@pytest.mark.parametrize("relative", [False, True])
def test_an_aligned_run_is_named_after_its_folder(relative, reranker, model_folder, tmp_path, monkeypatch):
    shutil.copytree(model_folder, tmp_path / "nano" / "checkpoint")
    reranker.heads.save(tmp_path / "nano" / "checkpoint" / "heads.json")
    if relative:
        monkeypatch.chdir(tmp_path / "nano" / "checkpoint")
    folder = "../checkpoint" if relative else tmp_path / "nano"
    assert HeadRankCrossEncoder(folder, device="cpu").mteb_model_meta.name == "headrank/nano"


def test_batches_without_ids_are_grouped_by_text(reranker):
    batches = [{"text": [QUERY, QUERY]}, {"text": [QUERY]}], [{"text": TEXTS[:1]}, {"text": TEXTS[1:3]}]
    results = sorted(reranker.rank(QUERY, TEXTS[:3]), key=lambda result: result.index)
    assert HeadRankCrossEncoder(reranker).predict(*batches).tolist() == pytest.approx(
        [r.score for r in results], abs=1e-6
    )
