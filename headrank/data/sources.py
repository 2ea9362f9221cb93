"""What a data source's name means: a packaged sample, a local folder or an ir_datasets id."""

from pathlib import Path

from headrank.data.collections import Collection
from headrank.data.irds import IrDatasetsCollection
from headrank.data.local import LocalCollection

_SAMPLES = Path(__file__).parent / "sample"


def load_collection(source: str | Path, *, title: bool = True) -> Collection:
    """Open the collection that `source` names.

    - `sample/train`, `sample/test`: the small collection that comes with this package;
    - a folder in the format of `local.py`: where `source` begins with `/`, `.` or `~`, or holds a `docs.jsonl`;
    - anything else: an ir_datasets id, for instance `beir/nfcorpus/test`.

    `title`: put a passage's title, where it has one, before its text.

    Raises what `LocalCollection` and `IrDatasetsCollection` raise: a missing or malformed file, an unknown id.
    """
    text = str(source)
    if text.startswith("sample/"):
        known = {f"sample/{entry.name}": entry for entry in sorted(_SAMPLES.glob("*")) if entry.is_dir()}
        if text not in known:
            raise FileNotFoundError(f"{text}: no such sample; this package holds: {', '.join(known) or 'none'}")
        folder = known[text]
        return LocalCollection(folder, name=text, title=title)
    if is_local(source):
        return LocalCollection(Path(source).expanduser(), name=text, title=title)
    return IrDatasetsCollection(text, title=title)


def is_local(source: str | Path) -> bool:
    """Whether `source` means a folder of the user's."""
    if isinstance(source, Path) or source.startswith(("/", ".", "~")):
        return True
    return not source.startswith("sample/") and (Path(source) / "docs.jsonl").is_file()
