"""The real ir_datasets ids, offline, over files made here: in processes of their own, as its home is read at import."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from headrank.data.irds import IrDatasetsCollection

ROOT = Path(__file__).parents[2]
DOCS = [
    {"_id": "D-1", "title": "Tides", "text": "The moon pulls the sea.", "metadata": {"url": "u"}},
    {"_id": "D-2", "title": "", "text": "Bread rises \ud800 because of yeast.", "metadata": {"url": "u"}},
    {"_id": "D-3", "title": "Ships", "text": "Ships wait for the tide.", "metadata": {"url": "u"}},
]
QUERIES = [
    {"_id": f"Q-{i}", "text": text, "metadata": {"url": "u"}} for i, text in enumerate(["why tides", "bread", "x"])
]
QRELS = "query-id\tcorpus-id\tscore\nQ-0\tD-1\t2\nQ-0\tD-9\t1\nQ-1\tD-2\t1\n"


def run(home, code, *arguments):
    """Run `code` with `home` as the ir_datasets home, no network and warnings as errors; its last line is JSON."""
    environment = os.environ | {
        "IR_DATASETS_HOME": str(home),
        "IR_DATASETS_TMP": str(home / "tmp"),
        "IR_DATASETS_DL_TRIES": "1",
        "HTTPS_PROXY": "http://127.0.0.1:9",  # nothing listens on the discard port: a download fails at once
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    strict = "import warnings, headrank.data; warnings.simplefilter('error')\n"
    command = [sys.executable, "-c", strict + code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def place(home, corpus=DOCS):
    (home / "beir" / "nfcorpus").mkdir(parents=True)
    with zipfile.ZipFile(home / "beir" / "nfcorpus" / "source.zip", "w") as archive:
        for name, records in (("corpus", corpus), ("queries", QUERIES)):
            archive.writestr(f"nfcorpus/{name}.jsonl", "".join(json.dumps(record) + "\n" for record in records))
        archive.writestr("nfcorpus/qrels/test.tsv", QRELS)


READ = """
import json, sys
from pathlib import Path
from headrank.data import candidate_lists, first_stage_run, load_collection
collection = load_collection("beir/nfcorpus/test")
plain = load_collection("beir/nfcorpus/test", title=False)
lists = candidate_lists(collection, kind="bm25", depth=5, cache_dir=Path(sys.argv[1]))
print(json.dumps({
    "queries": {q.id: q.text for q in collection.queries.values()},
    "qrels": collection.qrels,
    "passages": [[p.id, p.text] for p in collection.passages()],
    "plain": [p.text for p in plain.passages()],
    "lookup": sorted(collection.lookup(["D-3", "D-9"])),
    "lists": {one.query.id: one.passage_ids for one in lists.lists},
    "scoreddocs": collection.scoreddocs(),
    "fingerprints": [collection.fingerprint, collection.passages_fingerprint, plain.passages_fingerprint],
}))
"""


def test_a_beir_id_from_files_placed_by_hand(home, tmp_path):
    place(home)
    found = run(home, READ, tmp_path / "cache")
    assert found["queries"] == {"Q-0": "why tides", "Q-1": "bread"}
    assert found["qrels"] == {"Q-0": {"D-1": 2, "D-9": 1}, "Q-1": {"D-2": 1}}
    yeast = "Bread rises \ufffd because of yeast."  # no leading space for the empty title, no lone surrogate
    assert found["passages"] == [
        ["D-1", "Tides The moon pulls the sea."],
        ["D-2", yeast],
        ["D-3", "Ships Ships wait for the tide."],
    ]
    assert found["plain"] == ["The moon pulls the sea.", yeast, "Ships wait for the tide."]
    assert (found["lookup"], found["scoreddocs"]) == (["D-3"], None)
    assert found["lists"] == {"Q-0": ["D-1", "D-3"], "Q-1": ["D-2"]}
    assert len(set(found["fingerprints"])) == 3
    again = run(home, READ, tmp_path / "cache")
    assert again == found

    other = tmp_path / "other"
    place(other, corpus=[*DOCS[:2], DOCS[2] | {"text": "Changed."}])
    assert not set(run(other, READ, tmp_path / "cache")["fingerprints"]) & set(found["fingerprints"])


FAIL = """
import json, sys
from headrank.data import DataUnavailableError, load_collection
collection = load_collection(sys.argv[1])
messages = []
for read in (lambda: collection.queries, lambda: next(collection.passages())):
    try:
        read()
    except DataUnavailableError as error:
        messages.append(str(error))
print(json.dumps(messages))
"""


def test_a_missing_download_says_what_is_wanted_and_where(home):
    for message in run(home, FAIL, "beir/nfcorpus/test"):
        assert message.startswith("beir/nfcorpus/test: cannot read its ")
        assert "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets/nfcorpus.zip" in message
        assert f"place the file here: {home}/beir/nfcorpus/source.zip" in message


def test_licence_bound_passages_say_which_agreement_is_needed(home):
    _, message = run(home, FAIL, "disks45/nocr/trec-robust-2004")
    assert "requires agreements to be filed with NIST" in message
    assert f"place the file here: {home}/disks45/corpus" in message


def test_a_damaged_file_is_named_by_collection(home):
    (home / "beir" / "nfcorpus").mkdir(parents=True)
    (home / "beir" / "nfcorpus" / "source.zip").write_bytes(b"no zip")
    messages = run(home, FAIL, "beir/nfcorpus/test")
    assert len(messages) == 2
    assert all("beir/nfcorpus/test" in message and "BadZipFile" in message for message in messages)


def collection_of(**parts):
    """A collection over a stand-in data set: what the ids that need downloads give."""
    collection = IrDatasetsCollection("beir/nfcorpus/test")
    collection._dataset = SimpleNamespace(has=lambda part: True, **parts)
    return collection


def test_scoreddocs_keep_the_files_order_where_scores_are_equal():
    rows = [("q1", "a", 1.0), ("q1", "b", 2.0), ("q1", "c", 1.0), ("q2", "a", 0.0)]
    records = [SimpleNamespace(query_id=q, doc_id=d, score=s) for q, d, s in rows]
    run = collection_of(scoreddocs_iter=lambda: iter(records)).scoreddocs()
    assert {query_id: ranking.passage_ids for query_id, ranking in run.items()} == {"q1": ("b", "a", "c"), "q2": ("a",)}


def test_scoreddocs_without_scores_are_refused():
    records = [SimpleNamespace(query_id="q", doc_id=d, score=0.0) for d in "abc"]
    with pytest.raises(ValueError, match="candidates in no order"):
        collection_of(scoreddocs_iter=lambda: iter(records)).scoreddocs()


@pytest.mark.parametrize("known", [3, None])
def test_passages_are_counted_where_the_data_set_does_not_know(known):
    assert collection_of(docs_count=lambda: known, docs_iter=lambda: iter("abc")).passage_count == 3


def test_the_highest_of_repeated_judgements_counts(caplog):
    rows = [("a", 1), ("b", 0), ("a", 3), ("a", 2)]
    records = [SimpleNamespace(query_id="q", doc_id=d, relevance=g) for d, g in rows]
    assert collection_of(qrels_iter=lambda: iter(records)).qrels == {"q": {"a": 3, "b": 0}}
    assert "2 repeated judgements" in caplog.text


TOGETHER = """
import json, sys
from headrank.data import load_collection
collection = load_collection("beir/nfcorpus/test")
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([p.id for p in collection.passages()]))
"""


def test_processes_that_build_a_store_at_once_do_not_double_it(home):
    place(home, [DOCS[0] | {"_id": f"D-{number}"} for number in range(3000)])
    environment = os.environ | {"IR_DATASETS_HOME": str(home), "IR_DATASETS_TMP": str(home / "tmp")}
    command = [sys.executable, "-c", TOGETHER]
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert json.loads(out) == [f"D-{number}" for number in range(3000)]
