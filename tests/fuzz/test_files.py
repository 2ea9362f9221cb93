"""Input files of every kind, damaged or random: they are read, or an error names the file, the line and the value."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrank.data import candidate_lists, load_collection
from headrank.data.qrels import read_qrels, write_qrels
from headrank.data.records import read_passages, read_queries
from headrank.data.requests import read_requests
from headrank.data.trec import read_run, write_run
from headrank.heads import HeadsFile
from headrank.model import Head, PromptSettings, ScorerSettings
from headrank.ranking import Ranking
from tests.fuzz.reports import CHECKED, check_message, outcome

NUMBERS = (
    "7" * 5_000,
    "1e39",
    "-1e39",
    "1e999",
    "NaN",
    "-Infinity",
    "0x1f",
    "1_000",
    "-0.0",
    "2.5",
    "99999999999999999999",
)
TEXTS = ("", " ", "\t", "\u2009", "\u2028", "\ufeff", "\x00", "\r", "数", "é", "\\ud800", '"', "{", "null", "q1", "d1")
NESTED = ("[" * 3_000, '{"a":' * 2_000, "[[[]]]", '{"a": 1, "a": 2}', '{"doc_id": "d1", "doc_id": "d2", "text": "x"}')

FILES: dict[str, bytes] = {
    "run.trec": b"q1 Q0 d2 1 9.5 bm25\nq1 Q0 d1 2 8.25 bm25\nq2 Q0 d1 1 -3e2 bm25\nq2\tQ0\td3 2 -4 bm25\n",
    "qrels.txt": b"q1 0 d1 3\nq1 0 d2 0\nq2 0 d1 -1\nq2 0 d3 1\n",
    "docs.jsonl": '{"doc_id": "d1", "text": "The moon."}\n{"doc_id": "d2", "title": "T", "text": ""}\n'
    '{"doc_id": "d3", "text": "数", "n": [1, 2.5, {"a": null}]}\n'.encode(),
    "queries.tsv": "q1\twhat causes tides\nq2\té 数\n".encode(),
    "requests.jsonl": b'{"query": {"qid": "q1", "text": "a"}, "candidates": [{"docid": "d1", "score": 2,'
    b' "doc": {"text": "x"}}, {"docid": 2, "score": 1.5, "grade": 1, "contents": "y"}]}\n'
    b'{"query": "b", "candidates": []}\n',
    "queries.jsonl": b'{"query_id": "q1", "text": "what"}\n{"query_id": "q2", "text": "why", "n": 1}\n',
}


def read_written_run(path: Path) -> None:
    """A run that is read can be written, and comes back in the same order."""
    run = read_run(path)
    again = path.with_name("again")
    write_run(again, run, "tag")
    assert {q: r.passage_ids for q, r in read_run(again).items()} == {q: r.passage_ids for q, r in run.items()}


def read_written_qrels(path: Path) -> None:
    """Judgements that are read can be written and come back the same."""
    qrels = read_qrels(path)
    again = path.with_name("again")
    write_qrels(again, qrels)
    assert read_qrels(again) == qrels


READERS: dict[str, Callable[[Path], Any]] = {
    "run.trec": read_written_run,
    "qrels.txt": read_written_qrels,
    "docs.jsonl": read_passages,
    "queries.tsv": read_queries,
    "queries.jsonl": read_queries,
    "requests.jsonl": lambda path: list(read_requests(path)),
}


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """The content with one to four things done to it."""
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        lines = content.split(b"\n")
        number = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "drop a column", "replace a word", "line", "again"]))
        piece = draw(st.sampled_from([*NUMBERS, *TEXTS, *NESTED]) | st.text(max_size=5)).encode("utf-8", "replace")
        if kind == "flip":
            content = content[:place] + bytes([draw(st.integers(0, 255))]) + content[place + 1 :]
        elif kind == "cut":
            content = content[:place]
        elif kind == "insert":
            content = content[:place] + piece + content[place:]
        elif kind == "again":
            content += lines[number] + draw(st.sampled_from([b"", b"\n", b"\r\n"]))
        elif kind == "line":
            content = b"\n".join([*lines[:number], piece, *lines[number:]])
        else:
            words = lines[number].split(b" ")
            word = draw(st.integers(0, len(words) - 1))
            words[word : word + 1] = [] if kind == "drop a column" else [piece]
            content = b"\n".join([*lines[:number], b" ".join(words), *lines[number + 1 :]])
    return content


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@CHECKED
def test_a_file(name, data, place):
    content = data.draw(damaged(FILES[name]) | st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
    path = place / name
    path.write_bytes(content)
    _, message = outcome(lambda: READERS[name](path))
    if message is not None:
        check_message(message, path)


@pytest.mark.parametrize("name", FILES)
def test_an_undamaged_file_is_read(name, place):
    path = place / name
    path.write_bytes(FILES[name])
    assert outcome(lambda: READERS[name](path))[1] is None


@given(data=st.data())
@CHECKED
def test_a_folder(data, place):
    """One of a collection's files is damaged; the others are as they should be."""
    folder = place / "collection"
    folder.mkdir(exist_ok=True)
    names = ("run.trec", "qrels.txt", "docs.jsonl", "queries.tsv")
    bad = data.draw(st.sampled_from(names))
    for name in names:
        (folder / name).write_bytes(data.draw(damaged(FILES[name])) if name == bad else FILES[name])
    found, message = outcome(lambda: candidate_lists(load_collection(folder), kind="auto", depth=2))
    if message is None:
        assert all(len(item) <= 2 for item in found.lists)
        ranked = [Ranking.from_scores(x.query.id, x.passage_ids, x.first_stage_scores) for x in found.lists]
        write_run(place / "out", {ranking.query_id: ranking for ranking in ranked}, "tag")
    else:
        assert any(name in message for name in names)
        assert str(folder) in message


HEADS = HeadsFile(
    {"id": "tiny", "revision": "abc", "layers": 3, "heads_per_layer": 2},
    (Head(2, 1), Head(0, 0)),
    (1.0, 0.5),
    {"name": "entropy_regularized", "parameters": {"weight": 0.1}},
    PromptSettings(),
    ScorerSettings(),
    ("q1", "q2"),
    (0, 1),
    "0.1.0",
    ({"score": 0.5}, {"score": None}),
    {"score": [[0.5, None], [None, None], [None, 0.5]]},
)

SCALARS = st.sampled_from(
    [None, True, False, -1, 0, 3, 10**30, 1e308, float("nan"), float("inf"), 0.5, "", "\u2009", "数", "x" * 300]
)
TREES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from(["layer", "a"]), SCALARS, max_size=2)


def nodes(value: Any, path: tuple = ()) -> list[tuple]:
    """The path of every node below a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, below in items for found in [(*path, key), *nodes(below, (*path, key))]]


@given(data=st.data())
@CHECKED
def test_a_heads_file(data, place):
    """A node is replaced, removed or added, or the text is damaged."""
    content = json.loads(json.dumps(HEADS.to_dict()))
    *parents, last = data.draw(st.sampled_from(nodes(content)))
    owner = content
    for key in parents:
        owner = owner[key]
    kind = data.draw(st.sampled_from(["replace", "remove", "add", "damage"]))
    if kind == "replace":
        owner[last] = data.draw(TREES)
    elif kind == "remove":
        del owner[last]
    elif kind == "add" and isinstance(owner, dict):
        owner["unknown"] = data.draw(TREES)
    text = json.dumps(content).encode()
    path = place / "heads.json"
    path.write_bytes(data.draw(damaged(text) | st.binary(max_size=30)) if kind == "damage" else text)
    found, message = outcome(lambda: HeadsFile.load(path))
    if message is not None:
        assert str(path) in message
        assert len(message) > len(str(path)) + 10
        return
    assert found.depth <= found.model["layers"]
    again = place / "again.json"
    found.save(again)
    assert HeadsFile.load(again) == found
