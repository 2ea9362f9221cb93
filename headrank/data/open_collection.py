"""Open a collection by name: a packaged sample, a local folder, a file of requests or an ir_datasets id."""

from functools import partial
from pathlib import Path

from headrank.data.collections import Collection
from headrank.data.folder import DOCS, existing, qrels_file
from headrank.data.irds import IrDatasetsCollection
from headrank.data.local import LocalCollection
from headrank.data.parsing import plain_name
from headrank.data.qrels import read_qrels
from headrank.data.request_collection import RequestsCollection
from headrank.errors import ConfigError, MissingFileError
from headrank.ranking import Qrels

_SAMPLES = Path(__file__).parent / "sample"


def load_collection(
    source: str | Path,
    *,
    title: bool = True,
    qrels: str | Path | None = None,
    judged: bool = True,
    passages_only: bool = False,
) -> Collection:
    """Open the collection that `source` names.

    - `sample/train`, `sample/test`: the small collection that comes with this package;
    - a local path: a `Path`, a text that begins with `/`, `.` or `~`, or the name of an existing file or of a folder
      with `docs.jsonl` or `corpus.jsonl`. A file that ends in `.jsonl` or `.jsonl.gz` holds requests, that is queries
      with their candidates (the format is in headrank/data/requests.py); anything else is a folder in the format of
      headrank/data/local.py. `FOLDER:SPLIT` selects a split of BEIR's judgements;
    - anything else: an ir_datasets id, for instance `beir/nfcorpus/test`.

    Args:
        source: the name, see above.
        title: whether a passage's title is put before its text.
        qrels: the judgements for a file of requests, see `load_qrels`; None: the grades in the file.
        judged: whether judgements are read. If not, none are needed, and the collection has none.
        passages_only: whether the collection may lack queries too. Queries and judgements of a folder are not read.

    Raises:
        ConfigError: if the id is unknown, or `qrels` is given for a collection other than requests.
        FormatError: if a file is malformed.
        MissingFileError: if a file or folder does not exist.
    """
    text = str(source)
    if is_requests(source):
        judgements = None if qrels is None else partial(load_qrels, qrels)
        return RequestsCollection(
            local_path(source)[0], qrels=judgements, name=text, title=title, judged=judged and not passages_only
        )
    if qrels is not None:
        raise ConfigError(f"qrels is {str(qrels)!r}, but {text} is no file of requests (*.jsonl); expected null")
    if text.startswith("sample/"):
        return LocalCollection(_sample(text), name=text, title=title, judged=judged, passages_only=passages_only)
    if is_local(source):
        folder, split = local_path(source)
        return LocalCollection(folder, split=split, name=text, title=title, judged=judged, passages_only=passages_only)
    return IrDatasetsCollection(text, title=title, judged=judged, passages_only=passages_only)


def load_qrels(source: str | Path) -> Qrels:
    """Read judgements without reading passages.

    Args:
        source: a file of judgements, or the name of a collection as in `load_collection`.

    Raises:
        HeadRankError: if the file is missing or malformed (`read_qrels`), or the collection is unknown.
    """
    text = str(source)
    if text.startswith("sample/"):
        return read_qrels(qrels_file(_sample(text)))
    path, split = local_path(source)
    if path.is_file() or is_local(source):
        return read_qrels(qrels_file(path, split) if path.is_dir() else path)
    return IrDatasetsCollection(text).qrels


def collection_name(source: str) -> str:
    """Make a name for files and table rows from a collection's source.

    Examples: `/data/fiqa` -> `fiqa`, `/data/fiqa:dev` -> `fiqa-dev` (a split), `/data/dl21.jsonl.gz` -> `dl21`
    (requests), `beir/fiqa/test` -> `beir-fiqa-test` (an ir_datasets id).
    """
    if not is_local(source):
        return source.replace("/", "-")
    path, split = local_path(source)
    name = plain_name(path.resolve()).removesuffix(".jsonl")
    return f"{name}-{split}" if split else name


def is_requests(source: str | Path) -> bool:
    """Return whether `source` names a file of requests.

    That is a local path, not a folder, that ends in `.jsonl` or `.jsonl.gz`.
    """
    return is_local(source) and plain_name(Path(source)).endswith(".jsonl") and not Path(source).is_dir()


def _sample(name: str) -> Path:
    known = {f"sample/{entry.name}": entry for entry in sorted(_SAMPLES.glob("*")) if entry.is_dir()}
    if name not in known:
        raise MissingFileError(f"{name}: no such sample; expected one of {', '.join(known) or 'none'}")
    return known[name]


def is_local(source: str | Path) -> bool:
    """Return whether `source` names a local folder or file, by the rules of `load_collection`."""
    if isinstance(source, Path) or source.startswith(("/", ".", "~")):
        return True
    try:
        path, _ = local_path(source)
        return not source.startswith("sample/") and (path.is_file() or bool(existing(path, DOCS)))
    except OSError:  # longer than a file's name can be
        return False


def local_path(source: str | Path) -> tuple[Path, str | None]:
    """Split a source `PATH` or `PATH:SPLIT` into the path, with `~` expanded, and the split.

    The split is None without a colon, or if a file or folder with the whole name exists. Raises `ConfigError` if the
    user after `~` is unknown.
    """
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"collection is {str(source)!r}: {error}; expected a folder or an ir_datasets id") from None
    name, colon, split = path.name.rpartition(":")
    if not colon or not name or path.exists():
        return path, None
    return path.with_name(name), split
