"""Find the files of a collection's folder, in this package's names or BEIR's; each may be compressed (`.gz`).

docs.jsonl | corpus.jsonl
queries.tsv | queries.jsonl
qrels.txt | qrels.tsv | qrels/<split>.tsv
*.trec, *.run, and *.txt in the format of a run     any number of first-stage runs, optional
"""

from collections.abc import Sequence
from pathlib import Path

from headrank.data.parsing import opened, plain_name
from headrank.data.trec import run_lines
from headrank.errors import FormatError, MissingFileError

DOCS = ("docs.jsonl", "corpus.jsonl")
QUERIES = ("queries.tsv", "queries.jsonl")
QRELS = ("qrels.txt", "qrels.tsv", "qrels")
"""Names of the files that every collection has; `qrels` is a file, or BEIR's folder."""

_EXPECTED = "docs.jsonl, queries.tsv and qrels.txt, or BEIR's corpus.jsonl, queries.jsonl and qrels/<split>.tsv"
_DEFAULT_SPLIT = "test"


def existing(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the paths in the folder with one of these names, also with `.gz` appended.

    The list is empty if the folder does not exist.
    """
    return [path for name in names for path in _entries(folder) if plain_name(path) == name]


def required_file(folder: Path, names: Sequence[str]) -> Path:
    """Return the only entry of the folder that has one of these names, plain or with `.gz` at the end.

    The entry must be a file; only an entry `qrels` may be a folder.

    Raises:
        MissingFileError: the folder does not exist or has no such entry.
        FormatError: `folder` is not a folder, several entries match, or the entry is neither a file nor the folder
            `qrels`.
    """
    if not folder.is_dir():
        if folder.exists():
            raise FormatError(f"{folder}: is not a folder; expected a folder with {_EXPECTED}")
        raise MissingFileError(f"{folder}: no such folder; expected a folder with {_EXPECTED}")
    found = existing(folder, names)
    if not found:
        there = ", ".join(path.name for path in _entries(folder)) or "nothing"
        raise MissingFileError(f"{folder}: no {' or '.join(names)}; the folder holds: {there}")
    if len(found) > 1:
        raise FormatError(f"{folder}: both {' and '.join(path.name for path in found)}; expected one of them")
    (path,) = found
    if not path.is_file() and not (path.name == "qrels" and path.is_dir()):
        kind = "a folder" if path.is_dir() else "a broken link" if path.is_symlink() else "no regular file"
        raise FormatError(f"{path}: is {kind}; expected a file")
    return path


def splits(folder: Path) -> dict[str, Path]:
    """Return the files of judgements in the subfolder `qrels` (BEIR's layout) by split, such as `test`.

    The dict is empty without this subfolder.
    """
    found = _entries(folder / "qrels") if (folder / "qrels").is_dir() else []
    return {plain_name(path).removesuffix(".tsv"): path for path in found if plain_name(path).endswith(".tsv")}


def qrels_file(folder: Path, split: str | None = None) -> Path:
    """Return the path of the folder's judgements.

    Args:
        folder: the collection's folder.
        split: the split of BEIR's `qrels/<split>.tsv`; None: the file `qrels.txt`, `qrels.tsv` or `qrels`, or, if
            `qrels` is a folder, its split `test` or else its only split.

    Raises:
        MissingFileError: if the folder holds no judgements.
        FormatError: if the split does not exist, or no default can be chosen.
    """
    if split is None:
        path = required_file(folder, QRELS)
        if path.is_file():
            return path
    found = splits(folder)
    chosen = split or (_DEFAULT_SPLIT if _DEFAULT_SPLIT in found else next(iter(found)) if len(found) == 1 else None)
    if chosen not in found:
        listed = ", ".join(found) or "none"
        wrong = f"no {split}.tsv" if split else f"{len(found)} splits and no {_DEFAULT_SPLIT}.tsv"
        raise FormatError(f"{folder / 'qrels'}: {wrong}; expected a split, as {folder}:SPLIT (splits: {listed})")
    return found[chosen]


def run_files(folder: Path) -> dict[str, Path]:
    """Return the run files in the folder by name, such as `bm25` for `bm25.trec`.

    Files that would share a name keep their extensions in it.
    """
    found = [path for path in _entries(folder) if _is_run(path)]
    stems = [Path(plain_name(path)).stem for path in found]
    return {stem if stems.count(stem) == 1 else path.name: path for stem, path in zip(stems, found, strict=True)}


def _is_run(path: Path) -> bool:
    suffix = Path(plain_name(path)).suffix
    if suffix in (".trec", ".run"):
        return True
    if suffix != ".txt" or plain_name(path) == "qrels.txt" or not path.is_file():
        return False
    try:
        return next(run_lines(path), None) is not None
    except FormatError:  # another text file
        return False


def _entries(folder: Path) -> list[Path]:
    """The folder's visible entries, sorted by name; none if it does not exist."""
    if not folder.is_dir():
        return []
    with opened(folder):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
