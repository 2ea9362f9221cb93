"""Find the folder with a model's files, and download the files of a hub model if needed.

It is a local folder, the embedded model's folder, or a snapshot in the Hugging Face hub's cache. All later loading
reads from this folder, without network access. A revision that is a commit hash needs no request once its snapshot is
complete. Any other revision is resolved by one short request to the hub per process.
"""

import contextlib
import difflib
import functools
import logging
import re
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import HFValidationError, validate_repo_id

from headrank.errors import MissingModelError, ModelError
from headrank.io.files import atomic_write
from headrank.io.strict_json import read_json
from headrank.model.loading.default_model import EMBEDDED_MODEL, embedded_model_folder

logger = logging.getLogger(__name__)

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
SHARDS = "model.safetensors.index.json"
TOKENIZER_FILES = ((TOKENIZER,), ("vocab.json", "merges.txt"), ("vocab.txt",), ("tokenizer.model",))
"""Each of these sets of files is sufficient for a fast tokenizer."""

TIMEOUT = 5.0  # seconds for the one request that resolves a revision

_SMALL = ["*.json", "*.txt", "*.model", "*.jinja"]  # everything but the weights
_OTHER_FORMATS = ["onnx/*", "openvino/*", "original/*"]  # weights in formats that transformers does not read
_COMMIT = re.compile(r"[0-9a-f]{40}")

FindFile = Callable[[str], Path | None]
"""Returns the path of one of a model's files, or None if it is absent."""


def model_folder(model: str, revision: str | None, *, required: tuple[str, ...] = (CONFIG, TOKENIZER, WEIGHTS)) -> Path:
    """Return the local folder of a model, with at least the files in `required` (of `CONFIG`, `TOKENIZER`, `WEIGHTS`).

    model: the embedded model's name, a folder, or a hub id. revision: the commit, branch or tag of a hub id; None: the
    main branch. If the hub cannot be reached, the version in its cache is used, with a warning.

    Raises `ModelError` for a misspelt name of the embedded model or a damaged index of weight files, and
    `MissingModelError` (a `FileNotFoundError`) if the folder does not exist or lacks a needed file, or if neither the
    hub nor its cache has the model.
    """
    if model == EMBEDDED_MODEL:
        return embedded_model_folder()
    path = Path(model).expanduser()
    if is_local(model):
        return _complete_folder(path, required)
    _refuse_near_miss(model)
    try:
        validate_repo_id(model)
    except HFValidationError as error:
        raise MissingModelError(f"model {model!r} is neither a folder nor a hub id: {error}") from error
    return _snapshot(model, revision, required)


def is_local(model: str) -> bool:
    """Return whether a model's name is a local path, existing or not. A hub id has at most one slash."""
    path = Path(model).expanduser()
    return path.is_dir() or path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1


def missing_files(find: FindFile, required: tuple[str, ...]) -> tuple[str, ...]:
    """Return the files in `required` that are absent, in that order. If weights are sharded, absent shards are named.

    find: a function that looks up a file by name, such as `in_folder(folder)`.
    """
    missing: list[str] = []
    for need in required:
        if need == TOKENIZER:
            missing += [] if any(all(find(name) for name in names) for names in TOKENIZER_FILES) else [TOKENIZER]
        elif need == WEIGHTS:
            missing += [name for name in weight_names(find) if find(name) is None]
        elif find(need) is None:
            missing.append(need)
    return tuple(missing)


def weight_names(find: FindFile) -> list[str]:
    """Return the names of a model's weight files: one file, or the shards listed in its index.

    find: a function that looks up a file by name, such as `in_folder(folder)`.

    Raises `ModelError` if the index is damaged.
    """
    index = find(SHARDS)
    if index is None or find(WEIGHTS) is not None:
        return [WEIGHTS]
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
        if not names or any(Path(name).name != name for name in names):
            raise ValueError(f"the files are {names}")
        return names
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{index}: not an index of safetensors shards ({type(error).__name__}: {error}); expected an object "
            "`weight_map` of tensor names to files of the same folder. Download the file again"
        ) from error


def in_folder(folder: Path) -> FindFile:
    """Return a function that finds files in a folder by name."""
    return lambda name: folder / name if (folder / name).is_file() else None


def in_cache(model: str, revision: str | None) -> FindFile:
    """Return a function that finds files of a hub model in the hub's local cache by name, without network access.

    revision: a commit, branch or tag that the cache knows; None: the main branch.
    """

    def find(name: str) -> Path | None:
        try:
            path = try_to_load_from_cache(model, name, revision=revision)
        except HFValidationError:
            return None  # not a valid hub id
        return Path(path) if isinstance(path, str) else None  # otherwise absent or unknown

    return find


def _complete_folder(path: Path, required: tuple[str, ...]) -> Path:
    if not path.is_dir():
        raise MissingModelError(f"model folder {path} does not exist")
    missing = missing_files(in_folder(path), required)
    if CONFIG in missing:
        raise MissingModelError(f"model folder {path} has no {CONFIG}: it is not a Hugging Face model folder")
    if missing:
        raise MissingModelError(
            f"model folder {path} has no {', '.join(missing)}. Weights are read as safetensors only, never from pickles"
        )
    return path


def _refuse_near_miss(model: str) -> None:
    name = model.lower()
    near = difflib.get_close_matches(name, [EMBEDDED_MODEL], cutoff=0.7)
    if "/" not in model and (near or (len(name) > 5 and EMBEDDED_MODEL.startswith(name))):
        raise ModelError(f"no model {model!r}: did you mean {EMBEDDED_MODEL!r}, the embedded model?")


def _snapshot(model: str, revision: str | None, required: tuple[str, ...]) -> Path:
    pinned = revision is not None and _COMMIT.fullmatch(revision)
    commit = revision if pinned and revision is not None else _commit(model, revision)
    cache = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}"
    if missing_files(in_cache(model, commit), required):
        _download(model, commit, required)
    missing = missing_files(in_cache(model, commit), required)
    if missing:
        raise MissingModelError(
            f"model {model!r} at {commit} has no {', '.join(missing)} on the Hugging Face hub. Weights are read as "
            "safetensors only, never from pickles"
        )
    reference = cache / "refs" / (revision or constants.DEFAULT_REVISION)
    if not pinned and (not reference.is_file() or reference.read_text() != commit):
        with contextlib.suppress(OSError), atomic_write(reference) as file:  # the cache may be read-only
            file.write(commit)  # a later run without a network reads the same commit
    return cache / "snapshots" / commit


@functools.cache  # a process reads one version of a model and sends one request
def _commit(model: str, revision: str | None) -> str:
    """The commit of a branch or tag: from the hub, or from the cache if the hub cannot be reached."""
    name = revision or constants.DEFAULT_REVISION
    logger.info("asking the Hugging Face hub for the commit of %s at %s; a commit as revision saves this", model, name)
    try:
        commit = HfApi().model_info(model, revision=revision, timeout=TIMEOUT).sha
        assert commit is not None
        return commit
    except Exception as error:  # the HTTP client of the hub differs between versions
        cached = in_cache(model, revision)(CONFIG)
        if cached is None or _refused(error):
            raise _unavailable(model, revision, error) from error
        commit = cached.parent.name
        logger.warning(
            "the Hugging Face hub cannot be reached (%s): reading %s at commit %s from the cache, which may be "
            "outdated. Set this commit as the revision to avoid requests",
            type(error).__name__, model, commit,
        )  # fmt: skip
        return commit


def _download(model: str, commit: str, required: tuple[str, ...]) -> None:
    logger.info("downloading %s at %s from the Hugging Face hub", model, commit)
    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        HfApi().model_info(model, revision=commit, timeout=TIMEOUT)  # fails fast, without the download's retries
        small = [CONFIG] if required == (CONFIG,) else _SMALL
        snapshot_download(model, revision=commit, allow_patterns=small, ignore_patterns=_OTHER_FORMATS)
        if WEIGHTS in required:
            find = in_cache(model, commit)
            snapshot_download(model, revision=commit, allow_patterns=[*weight_names(find), *_module_weights(find)])
    except ModelError:
        raise
    except Exception as error:  # of the hub's HTTP client, which differs between its versions
        raise _unavailable(model, commit, error) from error


def _module_weights(find: FindFile) -> list[str]:
    """The weights of sentence-transformers modules, which lie in subfolders of the repository."""
    modules = find("modules.json")
    paths = [] if modules is None else [module["path"] for module in read_json(modules)]
    return [f"{path}/*.safetensors" for path in paths if path]


def _refused(error: Exception) -> bool:
    """Whether the hub answered that the model does not exist or access is denied."""
    return isinstance(error, HfHubHTTPError) and getattr(error.response, "status_code", 500) < 500


def _unavailable(model: str, revision: str | None, error: Exception) -> MissingModelError:
    at = "" if revision is None else f" at revision {revision!r}"
    cached = in_cache(model, revision)(CONFIG)
    hint = (
        "" if cached is None else f". The cache holds a part at {cached.parent.name}, perhaps all: give it as revision"
    )
    return MissingModelError(
        f"model {model!r}{at} is not a local folder, is incomplete in the hub's cache ({constants.HF_HUB_CACHE}), and "
        f"could not be downloaded from the Hugging Face hub: {type(error).__name__}: {error}{hint}"
    )
