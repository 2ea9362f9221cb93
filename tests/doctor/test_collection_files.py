"""Which files of a collection are there: real ids in an ir_datasets home made here, and local folders."""

import json

import pytest

from headrank.data.irds import UnknownCollectionError
from headrank.doctor.collection_files import collection_files
from tests.data.test_irds import home, place, run  # noqa: F401 (home is a fixture)

IDS = [
    "msmarco-passage/trec-dl-2019/judged", "msmarco-passage/trec-dl-2020/judged", "msmarco-passage/dev/small",
    "beir/trec-covid", "beir/nfcorpus/test", "beir/webis-touche2020/v2", "beir/dbpedia-entity/test",
    "beir/scifact/test", "beir/fiqa/test", "beir/scidocs", "beir/arguana", "beir/climate-fever", "beir/fever/test",
    "beir/hotpotqa/test", "beir/nq", "beir/quora/test", "msmarco-passage-v2/trec-dl-2021/judged",
    "msmarco-passage-v2/trec-dl-2022/judged", "msmarco-passage-v2/trec-dl-2023/judged",
]  # fmt: skip
LOOK = """
import json, sys
from headrank.doctor.collection_files import collection_files
found = {}
for source in json.loads(sys.argv[1]):
    one = collection_files(source, scoreddocs=True)
    found[source] = [[str(w.path), w.url, w.size] for w in one.missing], one.store, one.passages, one.passages_id
print(json.dumps(found))
"""


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_an_empty_home_lacks_the_passages_of_every_benchmark_and_stays_empty(home):  # noqa: F811
    found = run(home, LOOK, json.dumps(IDS))
    for source, (missing, store, passages, _) in found.items():
        assert not store, source
        assert passages > 3000, source
        assert all(url.startswith("https://") and path.startswith(str(home)) for path, url, _ in missing), source
        sizes = sum(size for _, _, size in missing)
        assert sizes > 20 * passages, f"{source}: {sizes} bytes of {passages} passages: the passages are not among them"
    assert files(home) == {}
    assert len({found[source][3] for source in IDS[:3]}) == 1
    assert len({found[source][3] for source in IDS}) == 15
    queries, *_ = found["msmarco-passage/trec-dl-2019/judged"][0]
    assert queries[0] == str(home / "msmarco-passage/trec-dl-2019/queries.tsv"), "the one small file without a place"
    names = [path.rsplit("/", 1)[1] for path, _, _ in found["msmarco-passage-v2/trec-dl-2021/judged"][0]]
    assert names == ["queries.tsv", "qrels", "top100.trec.gz", "msmarco_v2_passage.tar"]


PLACE = """
import json, sys
from pathlib import Path
import ir_datasets
import ir_datasets.util
from ir_datasets.util import RequestsDownload
from headrank.doctor.collection_files import _docs_handler, collection_files
class Asked(Exception):
    pass
asked = []
def stream(download):
    asked.append(download.url)
    raise Asked(download.url)
RequestsDownload.stream = stream
ir_datasets.util.HashStream = lambda stream, *_, **__: stream  # an empty file has another checksum
def read(source):
    asked.clear()
    data = ir_datasets.load(source)
    docs = _docs_handler(data)
    readers = [data.queries_iter, data.qrels_iter, docs.docs_iter]
    readers += [data.scoreddocs_iter] if data.has("scoreddocs") else []
    for reader in readers:
        try:
            next(iter(reader()), None)
        except Exception as error:  # the files are empty: no archive, no line
            pass
    return list(asked)
before, after = {}, {}
for source in json.loads(sys.argv[1]):
    before[source] = read(source)
    for one in collection_files(source, scoreddocs=True).missing:
        one.path.parent.mkdir(parents=True, exist_ok=True)
        one.path.touch()
    after[source] = [read(source), len(collection_files(source, scoreddocs=True).missing)]
print(json.dumps([before, after]))
"""


def test_what_is_placed_where_it_is_said_is_read_without_a_network(home):  # noqa: F811
    before, after = run(home, PLACE, json.dumps(IDS))
    for source in IDS:
        assert before[source], f"{source}: nothing asked the network before"
        assert after[source] == [[], 0], source


READ = """
import json
from headrank.data import load_collection
from headrank.doctor.collection_files import collection_files
def look():
    one = collection_files("beir/nfcorpus/test")
    return len(one.missing), one.store, one.collection is not None
before = look()
collection = load_collection("beir/nfcorpus/test")
len(collection.queries), len(collection.qrels), next(collection.passages())
print(json.dumps([before, look()]))
"""


def test_a_file_placed_by_hand_is_there_and_then_its_store(home):  # noqa: F811
    place(home)
    assert run(home, READ) == [[0, False, False], [0, True, True]]
    (home / "beir" / "nfcorpus" / "source.zip").unlink()  # all that is wanted of it has been unpacked
    assert run(home, LOOK, '["beir/nfcorpus/test"]')["beir/nfcorpus/test"][:2] == [[], True]


def test_a_local_folders_files_are_looked_for_and_not_read(make_folder):
    folder = make_folder(docs__jsonl="not JSON")
    assert collection_files(str(folder)).missing == ()
    (folder / "queries.tsv").unlink()
    (folder / "qrels.txt").unlink()
    assert [one.path.name for one in collection_files(str(folder)).missing] == ["queries.tsv", "qrels.txt"]
    assert collection_files(f"{folder}:dev", passages_only=True).missing == ()
    (folder / "queries.jsonl").write_text("")
    assert [one.path.name for one in collection_files(str(folder)).missing] == ["qrels.txt"]
    assert collection_files(str(folder), judged=False).missing == ()
    (folder / "docs.jsonl").rename(folder / "corpus.jsonl.gz")
    (folder / "qrels").mkdir()
    assert collection_files(str(folder)).missing == ()
    assert [one.path.name for one in collection_files(f"{folder}:dev").missing] == ["dev.tsv"]
    (folder / "qrels" / "dev.tsv.gz").write_text("")
    assert collection_files(f"{folder}:dev").missing == ()
    assert len(collection_files("/nowhere/at/all").missing) == 3


def test_requests_and_their_judgements_are_looked_for(make_folder):
    folder = make_folder(dl21__jsonl="not JSON")
    found = collection_files(f"{folder}/dl21.jsonl", qrels=f"{folder}/qrels.txt")
    assert (found.missing, found.own_lists) == ((), True)
    found = collection_files(f"{folder}/dl22.jsonl", qrels="/nowhere/qrels.txt")
    assert [one.path.name for one in found.missing] == ["dl22.jsonl", "qrels.txt"]
    assert collection_files(f"{folder}/dl21.jsonl", qrels=str(folder)).missing == ()
    assert [one.path.name for one in collection_files(f"{folder}/dl21.jsonl", qrels=f"{folder}:dev").missing] == [
        "dev.tsv"
    ]


QRELS = """
from headrank.doctor.collection_files import collection_files
import json
found = collection_files("/nowhere.jsonl", qrels="msmarco-passage-v2/trec-dl-2021/judged").missing
print(json.dumps([one.path.name for one in found]))
"""


def test_of_an_ids_judgements_only_their_file_is_looked_for(home):  # noqa: F811
    assert run(home, QRELS) == ["nowhere.jsonl", "qrels"]


def test_samples_are_there_and_unknown_names_are_errors():
    sample = collection_files("sample/test")
    assert (sample.missing, sample.passages) == ((), 384)
    assert sample.collection is not None
    with pytest.raises(UnknownCollectionError, match="not an ir_datasets id"):
        collection_files("beir/nfcorpsu")
    with pytest.raises(FileNotFoundError, match="no such sample"):
        collection_files("sample/dev")
