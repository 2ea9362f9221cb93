"""Stand-ins of MS MARCO's passages, versions 1 and 2, with the queries and judgements of TREC Deep Learning."""

import gzip
import io
import json
import random
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from stand_ins.texts import Query, make_collection

_BUNDLES, _PER_BUNDLE = 70, 20  # ir_datasets expects 70 bundles; with 20 passages each its first 1,000 can be read
_RUN_DEPTH = 100
_TOP1000_DEPTH = 60

Place = Callable[[str, str], Path]


def write_v1(place: Place, home: Path, subsets: Sequence[str], *, queries: int, seed: int) -> None:
    """Write `collectionandqueries.tar.gz` and the files of `subsets`: `trec-dl-2019`, `trec-dl-2020`, `dev/small`.

    Files that ir_datasets keeps under a checksum alone (the queries of 2019, the top-1000 lists) lie unpacked, where it
    looks first. The top-1000 lists have no scores, as the originals.
    """
    group = "msmarco-passage"
    drawn = random.Random(f"{seed} v1 runs")
    made = make_collection(f"{seed} {group}", queries=queries * len(subsets), titles=False)
    ids = [str(i) for i in range(len(made.passages))]
    archive = {"collection.tsv": "".join(f"{i}\t{p.text}\n" for i, p in zip(ids, made.passages, strict=True))}
    for number, subset in enumerate(subsets):
        asked = _with_ids(made.queries, number, queries, first=100_000)
        unjudged = f"{100_000 * (number + 1) - 1}\tnot judged\n"
        tsv = "".join(f"{i}\t{q.text}\n" for i, q in asked) + unjudged
        run = "".join(
            f"{query_id}\t{ids[i]}\n" for query_id, q in asked for i in _run(q, len(ids), _TOP1000_DEPTH, drawn)
        )
        if subset == "dev/small":
            archive["queries.dev.small.tsv"] = tsv
            archive["qrels.dev.small.tsv"] = _qrels(asked, ids, {3: 1}, separator="\t")
            _write(home / group / "dev/ms.run", run.encode())
            continue
        _write(place(group, f"{subset}/qrels"), _qrels(asked, ids).encode())
        _write(home / group / subset / "ms.run", run.encode())
        if subset == "trec-dl-2019":
            _write(home / group / subset / "queries.tsv", tsv.encode())
        else:
            _write(place(group, f"{subset}/queries"), gzip.compress(tsv.encode(), mtime=0))
    tar = _tar((name, text.encode()) for name, text in archive.items())
    _write(place(group, "collectionandqueries"), gzip.compress(tar, mtime=0))


def write_v2(place: Place, subsets: Sequence[str], *, queries: int, seed: int) -> None:
    """Write `msmarco_v2_passage.tar` and queries, judgements and top-100 runs of `subsets`, such as `trec-dl-2021`.

    A passage's id carries its bundle and its byte offset in the unpacked bundle, as ir_datasets looks it up.
    """
    group = "msmarco-passage-v2"
    drawn = random.Random(f"{seed} v2 runs")
    made = make_collection(
        f"{seed} {group}", queries=queries * len(subsets), passages=_BUNDLES * _PER_BUNDLE, titles=False
    )
    ids: list[str] = []
    bundles: list[tuple[str, bytes]] = []
    for bundle in range(_BUNDLES):
        content = b""
        for passage in made.passages[bundle * len(made.passages) // _BUNDLES :][: _share(len(made.passages), bundle)]:
            ids.append(f"msmarco_passage_{bundle:02d}_{len(content)}")
            record = {
                "pid": ids[-1],
                "passage": passage.text,
                "spans": f"(0,{len(passage.text)})",
                "docid": f"msmarco_doc_{bundle:02d}_{len(ids)}",
            }
            content += json.dumps(record, ensure_ascii=False).encode() + b"\n"
        name = f"msmarco_v2_passage/msmarco_passage_{bundle:02d}.gz"
        bundles.append((name, gzip.compress(content, mtime=0)))
    _write(place(group, "passages"), _tar(bundles))
    for number, subset in enumerate(subsets):
        asked = _with_ids(made.queries, number, queries, first=2_000_000)
        run = "".join(
            f"{query_id} Q0 {ids[i]} {rank} {30 - 0.2 * rank:.4f} stand-in\n"
            for query_id, q in asked
            for rank, i in enumerate(_run(q, len(ids), _RUN_DEPTH, drawn), 1)
        )
        _write(place(group, f"{subset}/queries"), "".join(f"{i}\t{q.text}\n" for i, q in asked).encode())
        _write(place(group, f"{subset}/qrels"), _qrels(asked, ids).encode())
        _write(place(group, f"{subset}/scoreddocs"), gzip.compress(run.encode(), mtime=0))


def _share(passages: int, bundle: int) -> int:
    return (bundle + 1) * passages // _BUNDLES - bundle * passages // _BUNDLES


def _with_ids(queries: list[Query], number: int, count: int, *, first: int) -> list[tuple[str, Query]]:
    """The queries of the `number`-th subset, with ids that no other subset has."""
    own = queries[number * count : (number + 1) * count]
    return [(str(first + 100_000 * number + i), query) for i, query in enumerate(own)]


def _run(query: Query, passages: int, depth: int, drawn: random.Random) -> list[int]:
    """A first-stage ranking: judged passages, better ones rather early, mixed with random passages."""
    others = [i for i in drawn.sample(range(passages), min(passages, depth)) if i not in query.levels]
    keys = {i: drawn.random() * (5 - level) for i, level in query.levels.items()}
    keys |= {i: drawn.random() * 6 for i in others}
    return sorted(keys, key=keys.__getitem__)[:depth]


def _qrels(
    asked: list[tuple[str, Query]], ids: list[str], grades: dict[int, int] | None = None, separator: str = " "
) -> str:
    grades = grades or {level: level for level in range(4)}
    return "".join(
        separator.join((query_id, "0", ids[i], str(grades[level]))) + "\n"
        for query_id, query in asked
        for i, level in query.levels.items()
        if level in grades
    )


def _tar(files: Iterable[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)  # its date is fixed
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
