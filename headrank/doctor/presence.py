"""Which of a collection's files are on this machine, found out without downloading, unpacking or reading them.

ir_datasets has no such function: private attributes of its handlers hold what it downloads and where it keeps it, and
are walked here. With a version that holds them elsewhere nothing would look missing; the tests ask real ids and fail.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrank.data.collections import Collection
from headrank.data.irds import IrDatasetsCollection
from headrank.data.local import LocalCollection, run_files
from headrank.data.open_collection import is_local, load_collection, local_folder

_LOCAL_FILES = (("docs.jsonl",), ("queries.tsv", "queries.jsonl"), ("qrels.txt",))  # one of each


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A missing file.

    path: where ir_datasets reads it without a network. url: where it can be downloaded (None: see the collection's
        page). size: bytes of the download. unpacked: whether `path` holds the unpacked content of the file at `url`.
    """

    path: Path
    url: str | None
    size: int | None
    unpacked: bool = False


@dataclass(frozen=True, slots=True)
class Presence:
    """What is there of a collection.

    place: the folder that it lies in, or the ir_datasets home. missing: files that have to come from elsewhere.
    store: whether passages can be looked up at once; else ir_datasets makes its store when they are first read.
    passages_id: names the passages alone, the same for collections that share them. passages: how many there are, as
        far as known without reading them. collection: where its passages can be read now.
    """

    place: Path
    missing: tuple[MissingFile, ...]
    passages_id: str
    store: bool = True
    passages: int | None = None
    collection: Collection | None = None
    runs: tuple[Path, ...] = ()  # a local folder's run files


def look_for(source: str, *, title: bool = True, scoreddocs: bool = False) -> Presence:
    """What is present of the collection that `source` names (see `load_collection`); with its `scoreddocs` on request.

    A local folder's files are looked for, not read. Raises `UnknownCollectionError` for an unknown ir_datasets id and
    `FileNotFoundError` for a sample that there is not.
    """
    if is_local(source):
        folder = local_folder(source)
        missing = [
            MissingFile(folder / names[0], None, None)
            for names in _LOCAL_FILES
            if not any((folder / name).is_file() for name in names)
        ]
        return Presence(folder, tuple(missing), source, runs=tuple(run_files(folder)))
    collection = load_collection(source, title=title)
    if isinstance(collection, LocalCollection):  # a packaged sample
        return Presence(collection.path, (), source, passages=collection.passage_count, collection=collection)
    assert isinstance(collection, IrDatasetsCollection)
    return _look_for_id(collection, scoreddocs=scoreddocs)


def _look_for_id(collection: IrDatasetsCollection, *, scoreddocs: bool) -> Presence:
    import ir_datasets
    from ir_datasets.util import home_path

    data = ir_datasets.load(collection.name)
    docs = _docs_handler(data)
    store = _store_is_made(docs)
    handlers = [data.queries_handler(), data.qrels_handler()]
    handlers += [data.scoreddocs_handler()] if scoreddocs and data.has("scoreddocs") else []
    handlers += [] if store else [docs]
    missing = {one.path: one for handler in handlers for one in _missing_files(handler, set())}
    count = data.metadata().get("docs", {}).get("count")
    passages_id = f"{docs.docs_namespace()} {count}"  # ir_datasets.docs_parent_id would write
    return Presence(home_path(), tuple(missing.values()), passages_id, store, count, collection if store else None)


def _docs_handler(data: Any) -> Any:
    """A data set's handler of passages, past the `Migrator` whose first call may write and delete files."""
    (found, *_) = [one for one in data._constituents if hasattr(one, "docs_handler")]
    if "_constituents" in vars(found):
        return _docs_handler(found)
    return vars(found).get("_wrapped", found)


def _store_is_made(docs: Any) -> bool:
    from ir_datasets.datasets.msmarco_passage_v2 import MsMarcoV2Passages

    if isinstance(docs, MsMarcoV2Passages):  # asking for its store would make a folder
        return Path(f"{docs.docs_path(force=False)}.extracted", "_built").exists()
    return bool(docs.docs_store().built())


def _missing_files(node: Any, seen: set[int], cache: Any = None) -> Iterator[MissingFile]:
    """The missing downloads below an ir_datasets object, except those from which everything needed was already made.

    cache: the nearest `Cache` above, which keeps the unpacked download.
    """
    from ir_datasets.util import Cache, Download

    if id(node) in seen or not type(node).__module__.startswith("ir_datasets"):
        return
    seen.add(id(node))
    if isinstance(node, Download):
        places = [Path(place) for place in (node._cache_path, *_by_hand(node)) if place]
        if not any(place.exists() for place in places):
            url = next((url for mirror in node.mirrors if (url := getattr(mirror, "url", None))), None)
            # ir_datasets looks for no local copy of a small file without a place: only its unpacked content is read
            place = places[0] if places else Path(cache._path)
            yield MissingFile(place, url, node._size_hint, unpacked=not places and cache._streamer is not node)
        return
    if isinstance(node, Cache):
        if node._path.exists():
            return
        cache = node
    for value in vars(node).values():
        for child in value if isinstance(value, list | tuple) else [value]:
            yield from _missing_files(child, seen, cache)


def _by_hand(download: Any) -> list[Path]:
    """The places for a copy of the file, besides the download's cache path."""
    return [mirror._path for mirror in download.mirrors if hasattr(mirror, "_path")]
