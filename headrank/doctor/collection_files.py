"""Find which files of a collection are on this machine, without downloading, unpacking or reading them.

ir_datasets offers no such function, so this module walks private attributes of its handlers, which hold downloads and
their paths. If a version of ir_datasets stores them elsewhere, nothing appears missing; tests with real ids then fail.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrank.data.collections import Collection
from headrank.data.folder import DOCS, QRELS, QUERIES, existing, run_files, splits
from headrank.data.irds import IrDatasetsCollection
from headrank.data.local import LocalCollection
from headrank.data.open_collection import is_local, is_requests, load_collection, local_path

_PARTS = (DOCS, QUERIES, QRELS)


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A file that a collection needs and this machine does not have.

    path: where the file is expected: ir_datasets, or this package for local files, reads it there without a network.
    url: its download address; None: see the collection's page.
    size: bytes of the download; None: unknown.
    unpacked: whether `path` is the place of the unpacked content of the file at `url`.
    """

    path: Path
    url: str | None
    size: int | None
    unpacked: bool = False


@dataclass(frozen=True, slots=True)
class CollectionFiles:
    """The available and missing files of a collection.

    location: its folder, or the ir_datasets home.
    missing: files to download or provide.
    passages_id: identifies the passages; collections over the same passages share it.
    store: whether passages can be looked up now; otherwise ir_datasets builds its store when they are first read.
    passages: the number of passages; None if it is unknown without reading them.
    collection: the collection, if its passages can be read now; else None.
    """

    location: Path
    missing: tuple[MissingFile, ...]
    passages_id: str
    store: bool = True
    passages: int | None = None
    collection: Collection | None = None
    runs: tuple[tuple[str, Path], ...] = ()  # a local folder's run files, by name
    own_lists: bool = False  # whether it is a file of requests


def collection_files(
    source: str,
    *,
    title: bool = True,
    scoreddocs: bool = False,
    qrels: str | None = None,
    judged: bool = True,
    passages_only: bool = False,
) -> CollectionFiles:
    """Find the available and missing files of a collection, without reading them.

    Args:
        source: the collection (see `load_collection`), or a file of requests (queries with their candidates).
        title: whether passages include titles.
        scoreddocs: whether the collection's `scoreddocs` (its own first-stage candidates) are needed as well.
        qrels: the judgements for a file of requests (see `load_qrels`); None: none are needed.
        judged: whether the collection's judgements are needed.
        passages_only: whether queries and judgements are not needed.

    Raises:
        UnknownCollectionError: the ir_datasets id does not exist.
        FileNotFoundError: the sample collection does not exist.
    """
    if is_requests(source):
        path, _ = local_path(source)
        missing = [] if path.is_file() else [MissingFile(path, None, None)]
        missing += [] if qrels is None or not judged else _missing_qrels(qrels)
        return CollectionFiles(path.parent, tuple(missing), source, own_lists=True)
    if is_local(source):
        return _look_in_folder(source, _PARTS[: 1 if passages_only else 3 if judged else 2])
    collection = load_collection(source, title=title, judged=judged, passages_only=passages_only)
    if isinstance(collection, LocalCollection):  # a packaged sample
        return CollectionFiles(collection.path, (), source, passages=collection.passage_count, collection=collection)
    assert isinstance(collection, IrDatasetsCollection)
    return _irds_files(collection, scoreddocs=scoreddocs, judged=judged, passages_only=passages_only)


def _missing_qrels(source: str) -> list[MissingFile]:
    path, split = local_path(source)
    if source.startswith("sample/") or path.is_file():
        return []
    if is_local(source):
        there = split in splits(path) if split else existing(path, QRELS)
        return [] if there else [MissingFile(path / "qrels" / f"{split}.tsv" if split else path, None, None)]
    import ir_datasets

    return list(_missing_files(ir_datasets.load(load_collection(source).name).qrels_handler(), set()))


def _look_in_folder(source: str, needed: Sequence[Sequence[str]]) -> CollectionFiles:
    folder, split = local_path(source)
    missing = [MissingFile(folder / names[0], None, None) for names in needed if not existing(folder, names)]
    if split is not None and QRELS in needed and split not in splits(folder):
        missing.append(MissingFile(folder / "qrels" / f"{split}.tsv", None, None))
    return CollectionFiles(folder, tuple(missing), source, runs=tuple(run_files(folder).items()))


def _irds_files(
    collection: IrDatasetsCollection, *, scoreddocs: bool, judged: bool, passages_only: bool
) -> CollectionFiles:
    import ir_datasets
    from ir_datasets.util import home_path

    data = ir_datasets.load(collection.name)
    docs = _docs_handler(data)
    store = _store_is_built(docs)
    handlers = [] if passages_only else [data.queries_handler()] + ([data.qrels_handler()] if judged else [])
    handlers += [data.scoreddocs_handler()] if scoreddocs and data.has("scoreddocs") else []
    handlers += [] if store else [docs]
    missing = {one.path: one for handler in handlers for one in _missing_files(handler, set())}
    count = data.metadata().get("docs", {}).get("count")
    passages_id = f"{docs.docs_namespace()} {count}"  # ir_datasets.docs_parent_id would write files
    return CollectionFiles(
        home_path(), tuple(missing.values()), passages_id, store, count, collection if store else None
    )


def _docs_handler(data: Any) -> Any:
    """The handler of a data set's passages, without the `Migrator`, whose first call may write and delete files."""
    (found, *_) = [one for one in data._constituents if hasattr(one, "docs_handler")]
    if "_constituents" in vars(found):
        return _docs_handler(found)
    return vars(found).get("_wrapped", found)


def _store_is_built(docs: Any) -> bool:
    from ir_datasets.datasets.msmarco_passage_v2 import MsMarcoV2Passages

    if isinstance(docs, MsMarcoV2Passages):  # opening its store would create a folder
        return Path(f"{docs.docs_path(force=False)}.extracted", "_built").exists()
    return bool(docs.docs_store().built())


def _missing_files(node: Any, seen: set[int], cache: Any = None) -> Iterator[MissingFile]:
    """Yield the missing downloads below an ir_datasets object, except those whose unpacked content is cached.

    Args:
        node: the object.
        seen: ids of visited objects.
        cache: the nearest `Cache` above, which keeps the unpacked download.
    """
    from ir_datasets.util import Cache, Download

    if id(node) in seen or not type(node).__module__.startswith("ir_datasets"):
        return
    seen.add(id(node))
    if isinstance(node, Download):
        paths = [Path(path) for path in (node._cache_path, *_by_hand(node)) if path]
        if not any(path.exists() for path in paths):
            url = next((url for mirror in node.mirrors if (url := getattr(mirror, "url", None))), None)
            # without a path ir_datasets reads only the unpacked content of a small file, not a local copy
            path = paths[0] if paths else Path(cache._path)
            yield MissingFile(path, url, node._size_hint, unpacked=not paths and cache._streamer is not node)
        return
    if isinstance(node, Cache):
        if node._path.exists():
            return
        cache = node
    for value in vars(node).values():
        for child in value if isinstance(value, list | tuple) else [value]:
            yield from _missing_files(child, seen, cache)


def _by_hand(download: Any) -> list[Path]:
    """Paths for a manual copy of the file, in addition to the download's cache path."""
    return [mirror._path for mirror in download.mirrors if hasattr(mirror, "_path")]
