"""Opens a collection by name: a packaged sample, a local folder or an ir_datasets id."""

from pathlib import Path

from headrank.data.collections import Collection
from headrank.data.folder import DOCS, existing
from headrank.data.irds import IrDatasetsCollection
from headrank.data.local import LocalCollection
from headrank.errors import ConfigError, MissingFileError

_SAMPLES = Path(__file__).parent / "sample"


def load_collection(source: str | Path, *, title: bool = True) -> Collection:
    """Open the collection that `source` names.

    - `sample/train`, `sample/test`: the small collection that comes with this package;
    - a path that begins with `/`, `.` or `~`, or a folder with passages: a folder in the format of `local.py`;
      `FOLDER:SPLIT` names a split of BEIR's judgements;
    - anything else: an ir_datasets id, for instance `beir/nfcorpus/test`.

    Args:
        source: the name, see above.
        title: whether a passage's title is put before its text.

    Raises:
        ConfigError: if the id is unknown.
        FormatError: if a file is malformed; `MissingFileError` if it does not exist.
    """
    text = str(source)
    if text.startswith("sample/"):
        known = {f"sample/{entry.name}": entry for entry in sorted(_SAMPLES.glob("*")) if entry.is_dir()}
        if text not in known:
            raise MissingFileError(f"{text}: no such sample; expected one of {', '.join(known) or 'none'}")
        return LocalCollection(known[text], name=text, title=title)
    if is_local(source):
        folder, split = local_folder(source)
        return LocalCollection(folder, split=split, name=text, title=title)
    return IrDatasetsCollection(text, title=title)


def is_local(source: str | Path) -> bool:
    """Whether `source` names a local folder."""
    if isinstance(source, Path) or source.startswith(("/", ".", "~")):
        return True
    try:
        return not source.startswith("sample/") and bool(existing(local_folder(source)[0], DOCS))
    except OSError:  # longer than a file's name can be
        return False


def local_folder(source: str | Path) -> tuple[Path, str | None]:
    """The folder that `source` names, `~` expanded, and the split after a colon, if the whole is not a folder itself.

    Raises `ConfigError` if the user after `~` is unknown.
    """
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"collection is {str(source)!r}: {error}; expected a folder or an ir_datasets id") from None
    name, colon, split = path.name.rpartition(":")
    if not colon or not name or path.exists():
        return path, None
    return path.with_name(name), split
