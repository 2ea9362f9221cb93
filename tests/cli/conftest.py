"""A saved reranker, and files to rerank."""

import json
import random

import pytest

from headrank import Reranker

WORDS = ["sky", "blue", "light", "wave", "sea", "rain", "sun", "wind", "cloud", "stone", "tree", "leaf"]
LISTS, PASSAGES = 80, 6  # more than two steps


@pytest.fixture(scope="session")
def saved(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "reranker"
    Reranker.from_pretrained(model_folder, [(1, 2), (0, 3)], device="cpu").save(folder)
    return folder


@pytest.fixture
def files(tmp_path):
    """queries.tsv, docs.jsonl, run.trec and the same as requests.jsonl; the run's lines are not in order."""
    draw = random.Random(3)
    texts = {f"d{i}": " ".join(draw.choices(WORDS, k=8)) for i in range(60)}
    lines, requests, queries = [], [], {}
    for q in range(LISTS):
        queries[f"q{q}"] = " ".join(draw.choices(WORDS, k=3))
        found = draw.sample(sorted(texts), PASSAGES)
        lines += [f"q{q} Q0 {d} {rank} {100 - rank} bm25" for rank, d in enumerate(found, 1)]
        candidates = [
            {"docid": d, "score": 100 - rank, "doc": {"contents": texts[d]}} for rank, d in enumerate(found, 1)
        ]
        requests.append({"query": {"qid": f"q{q}", "text": queries[f"q{q}"]}, "candidates": candidates})
    shuffled = lines[PASSAGES:]
    draw.shuffle(shuffled)
    first = [line for line in lines if line.startswith("q0 ")]
    order = sorted(shuffled, key=lambda line: int(line.split()[0][1:]) // 4)  # lines of a query are not contiguous
    (tmp_path / "run.trec").write_text("\n".join(first + order) + "\n")
    (tmp_path / "queries.tsv").write_text("".join(f"{q}\t{text}\n" for q, text in queries.items()))
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps({"id": d, "contents": t}) + "\n" for d, t in texts.items()))
    (tmp_path / "requests.jsonl").write_text("".join(json.dumps(one) + "\n" for one in requests))
    return tmp_path
