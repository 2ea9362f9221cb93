"""Fixtures of the data tests."""

import pytest

from headrank.data import DataSettings
from tests.data.toy import DOCS


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
