"""Stand-ins of BEIR data sets: a `source.zip` per data set, with ids, grades and fields like those of the original."""

import json
import random
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stand_ins.texts import Passage, SyntheticCollection, make_collection

# level (3: perfect .. 0: irrelevant) -> grade, for data sets with other grades than "1 or not judged"
_GRADES = {
    "trec-covid": {3: 2, 2: 2, 1: 1, 0: 0},
    "nfcorpus": {3: 2, 2: 1, 1: 1},
    "dbpedia-entity": {3: 2, 2: 1, 1: 1, 0: 0},
    "webis-touche2020": {3: 2, 2: 1, 1: 1, 0: 0},
    "scidocs": {3: 1, 2: 1, 0: 0},
}
_BINARY = {3: 1}
_QUERIES_ARE_PASSAGES = ("arguana", "quora")  # a query is a passage of the same id
_SPLITS = {"nfcorpus": ("train", "dev", "test")}  # the splits in conf/; all others have `test`


def _numbered(prefix: str) -> Callable[[int, random.Random], str]:
    return lambda i, drawn: f"{prefix}{i}"


_PASSAGE_IDS: dict[str, Callable[[int, random.Random], str]] = {
    "trec-covid": lambda i, drawn: "".join(drawn.choices("abcdefghijkmnpqrstuvwxyz0123456789", k=8)),
    "nfcorpus": _numbered("MED-"),
    "nq": _numbered("doc"),
    "arguana": lambda i, drawn: f"test-society-stand{i // 10:03d}-{'pro' if i % 2 else 'con'}{i % 10:02d}a",
    "webis-touche2020": lambda i, drawn: f"{drawn.getrandbits(32):08x}-2019-04-18T11:02:53Z-{i:05d}-000",
    "dbpedia-entity": lambda i, drawn: f"<dbpedia:Entité_{i}_(stand-in)>",
    "scidocs": lambda i, drawn: f"{drawn.getrandbits(160):040x}",
    "fever": lambda i, drawn: f"Page_{i}_-LRB-stand-in-RRB-",
    "climate-fever": lambda i, drawn: f"Page_{i}_(stand-in)",
}
_QUERY_IDS: dict[str, Callable[[int, random.Random], str]] = {
    "nfcorpus": _numbered("PLAIN-"),
    "nq": _numbered("test"),
    "dbpedia-entity": _numbered("INEX_LD-"),
    "scidocs": _PASSAGE_IDS["scidocs"],
    "hotpotqa": lambda i, drawn: f"{drawn.getrandbits(96):024x}",
}


def write_beir(path: Path, dataset: str, *, doc_fields: tuple[str, ...], query_fields: tuple[str, ...],
               queries: int, seed: int) -> None:  # fmt: skip
    """Write the zip of `dataset` (such as `scifact` or `webis-touche2020/v2`) to `path`, `queries` for each split.

    doc_fields, query_fields: the fields of ir_datasets' records, which say what the originals carry as metadata.
    """
    name = dataset.split("/")[0]
    splits = _SPLITS.get(name, ("test",))
    drawn = random.Random(f"{seed} {dataset} ids")
    made = make_collection(f"{seed} {dataset}", queries=queries * len(splits), titles=name not in ("fiqa", "quora"))
    passage_ids = [_PASSAGE_IDS.get(name, _numbered(""))(i, drawn) for i in range(len(made.passages))]
    passages = list(made.passages)
    if name in _QUERIES_ARE_PASSAGES:
        query_ids = []
        for query in made.queries:
            query_ids.append(_PASSAGE_IDS.get(name, _numbered(""))(len(passages), drawn))
            passages.append(Passage("", query.text))
        passage_ids += query_ids
    else:
        query_ids = [_QUERY_IDS.get(name, _numbered(""))(i, drawn) for i in range(1, len(made.queries) + 1)]
    corpus = [
        {"_id": i, "title": p.title, "text": p.text, "metadata": _metadata(doc_fields, drawn)}
        for i, p in zip(passage_ids, passages, strict=True)
    ]
    asked = [
        {"_id": i, "text": q.text, "metadata": _metadata(query_fields, drawn)}
        for i, q in zip(query_ids, made.queries, strict=True)
    ]
    files = {f"{name}/corpus.jsonl": _lines(corpus), f"{name}/queries.jsonl": _lines(asked)}
    for number, split in enumerate(splits):
        part = slice(number * queries, (number + 1) * queries)
        files[f"{name}/qrels/{split}.tsv"] = _qrels(made, query_ids, passage_ids, part, _GRADES.get(name, _BINARY))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, text in files.items():
            archive.writestr(zipfile.ZipInfo(file), text, zipfile.ZIP_DEFLATED)  # ZipInfo's date is fixed


def _qrels(
    made: SyntheticCollection, query_ids: list[str], passage_ids: list[str], part: slice, grades: dict[int, int]
) -> str:
    rows = [
        f"{query_id}\t{passage_ids[i]}\t{grades[level]}\n"
        for query_id, query in list(zip(query_ids, made.queries, strict=True))[part]
        for i, level in query.levels.items()
        if level in grades
    ]
    return "query-id\tcorpus-id\tscore\n" + "".join(rows)


def _metadata(fields: tuple[str, ...], drawn: random.Random) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields:
        if field in ("authors", "cited_by", "references"):
            values[field] = [f"{drawn.getrandbits(32):08x}" for _ in range(2)]
        elif field == "year":
            values[field] = 2000 + drawn.randrange(20)
        elif field == "url":
            values[field] = f"https://example.org/{uuid.UUID(int=drawn.getrandbits(128))}"
        elif field not in ("doc_id", "query_id", "text", "title"):
            values[field] = f"{field} {drawn.randrange(1000)}"
    return values


def _lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
