"""What a data source's name means: a packaged sample, a local folder or an ir_datasets id."""

from pathlib import Path

from headrank.data.collections import Collection
from headrank.data.irds import IrDatasetsCollection
from headrank.data.local import LocalCollection
from headrank.errors import ConfigError, MissingFileError

_SAMPLES = Path(__file__).parent / "sample"


def load_collection(source: str | Path, *, title: bool = True) -> Collection:
    """Open the collection that `source` names.

    - `sample/train`, `sample/test`: the small collection that comes with this package;
    - a folder in the format of `local.py`: if `source` begins with `/`, `.` or `~`, or holds a `docs.jsonl`;
    - anything else: an ir_datasets id, for instance `beir/nfcorpus/test`.

    `title`: put a passage's title, if it has one, before its text.

    Raises what `LocalCollection` and `IrDatasetsCollection` raise: a missing or malformed file, an unknown id.
    """
    text = str(source)
    if text.startswith("sample/"):
        known = {f"sample/{entry.name}": entry for entry in sorted(_SAMPLES.glob("*")) if entry.is_dir()}
        if text not in known:
            raise MissingFileError(f"{text}: no such sample; this package holds: {', '.join(known) or 'none'}")
        return LocalCollection(known[text], name=text, title=title)
    if is_local(source):
        return LocalCollection(local_folder(source), name=text, title=title)
    return IrDatasetsCollection(text, title=title)


def is_local(source: str | Path) -> bool:
    """Whether `source` names a local folder."""
    if isinstance(source, Path) or source.startswith(("/", ".", "~")):
        return True
    try:
        return not source.startswith("sample/") and (Path(source) / "docs.jsonl").is_file()
    except OSError:  # longer than a file's name can be
        return False


def local_folder(source: str | Path) -> Path:
    """The folder that `source` names. Raises `ConfigError` if it begins with the home of an unknown user."""
    try:
        return Path(source).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"collection is {str(source)!r}: {error}; expected a folder or an ir_datasets id") from None
