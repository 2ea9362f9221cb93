"""Fixtures of the data tests."""

import json

import pytest

from headrank.data import DataSettings
from tests.data.toy import DOCS, MOON, SENTENCE


@pytest.fixture
def make_source(make_folder):
    """A folder of `n` queries with one relevant passage among DOCS each; sizes differ by query; parts replaceable."""

    def make(name="folder", n=12, *, prefix="q", depth=DOCS, **parts):
        names = [f"{prefix}{i:02}" for i in range(n)]
        ids = {q: [f"{q}-d{i}" for i in range(DOCS)] for q in names}
        content = {
            "docs": {d: "word " * (1 + 10 * (i % 5)) for i, q in enumerate(names) for d in ids[q]},
            "queries": {q: f"what is {q}" for q in names},
            "qrels": {q: {ids[q][2]: 3, ids[q][4]: 1, ids[q][0]: 0} for q in names},
            "run": ids,
        }
        folder = make_folder(name, **content | parts)
        return DataSettings(name, str(folder), first_stage="run", depth=depth)

    return make


@pytest.fixture
def passages(tmp_path):
    """Writes a folder of passages without queries and judgements; returns the settings of a data set made from it."""

    def make(texts=MOON, generated=SENTENCE, **settings):
        folder = tmp_path / "passages"
        folder.mkdir(exist_ok=True)
        lines = [
            json.dumps({"doc_id": i, "text": t} if isinstance(t, str) else {"doc_id": i, **t}) for i, t in texts.items()
        ]
        (folder / "docs.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return DataSettings("made", str(folder), generated=generated, **{"depth": 10} | settings)

    return make
