"""Check data sets (files, first stages, terms of use) and the disk space that they need."""

import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from headrank.data import FirstStage
from headrank.data.bm25.index import index_folder
from headrank.doctor.collection_files import CollectionFiles, collection_files
from headrank.doctor.findings import Finding, State, gib
from headrank.experiment import DataSettings, Experiment

INDEX_BYTES = 350  # per passage of 55 words in a BM25 index; twice that during the build (experiments/first_stage)
INDEX_SECONDS = 80e-6  # per passage, on one core of a laptop or small server (same source)
STORE_FACTOR = 2  # size of ir_datasets' unpacked files and store over the download [ours: a rough guess]


def data_findings(experiment: Experiment) -> tuple[list[Finding], dict[Path, int]]:
    """Check the files and the first stage of each data set of an experiment, and note its terms of use.

    Returns:
        The findings, and a map from the path of each missing file or index to the bytes that it will take.
    """
    findings: list[Finding] = []
    space: dict[Path, int] = {}
    for settings in dict.fromkeys((*experiment.train, *experiment.benchmarks)):
        scoreddocs = settings.first_stage == FirstStage.SCOREDDOCS
        labels = settings.label_source
        files = collection_files(
            settings.collection,
            title=settings.title,
            scoreddocs=scoreddocs,
            qrels=settings.qrels,
            judged=labels.judged,
            passages_only=settings.generated is not None,
        )
        findings += [_files(settings, files), _first_stage(settings, files, experiment.cache, space)]
        if labels.run is not None:
            state = State.OK if labels.run.is_file() else State.MISSING
            findings.append(Finding("data", settings.name, state, f"soft labels: the run {labels.run}"))
        for file in files.missing:
            space[file.path] = (file.size or 0) * (1 + STORE_FACTOR)
        if settings.licence:
            findings.append(Finding("data", settings.name, State.NOTE, f"terms: {settings.licence}"))
    return findings, space


def disk_findings(experiment: Experiment, space: Mapping[Path, int]) -> list[Finding]:
    """Compare the free space of each file system with the space needed there.

    Args:
        experiment: its cache and output folders are checked as well.
        space: the path of a file or folder -> the bytes that it will take.
    """
    needed: dict[int, int] = defaultdict(int)
    folders: dict[int, Path] = {}
    for path, size in [*space.items(), (experiment.cache, 0), (experiment.folder, 0)]:
        folder = _existing(path)
        device = folder.stat().st_dev
        needed[device] += size
        folders.setdefault(device, folder)
    findings = []
    for device, size in needed.items():
        free = shutil.disk_usage(folders[device]).free
        enough = size < free
        findings.append(
            Finding(
                "disk",
                str(folders[device]),
                State.OK if enough else State.MISSING,
                f"{gib(free)} free, about {gib(size)} needed for the missing files",
                None if enough else "set IR_DATASETS_HOME and HEADRANK_CACHE (or paths.cache) to another disk",
            )
        )
    return findings


def _files(settings: DataSettings, files: CollectionFiles) -> Finding:
    name, missing = settings.name, files.missing
    if missing:
        size = sum(file.size or 0 for file in missing)
        detail = f"{settings.collection}: no {', '.join(file.path.name for file in missing)}"
        detail += f" ({gib(size)})" if size else ""
        paths = [
            f"{file.path}"
            + (f", unpacked from {file.url}" if file.unpacked else f" from {file.url}" if file.url else "")
            for file in missing
        ]
        how = "a run with a network downloads it; or place" if any(file.url for file in missing) else "expected:"
        if any(file.url for file in missing) and not files.own_lists:
            paths.append(
                f"or give candidates with texts instead: requests='/data/requests/{{name}}.jsonl' ({name}.jsonl)"
            )
        return Finding("data", name, State.MISSING, detail, "\n".join([how, *paths]))
    if not files.store:
        unpacked = f"{settings.collection}: its files are available, ir_datasets unpacks them at first use"
        return Finding("data", name, State.PENDING, unpacked)
    return Finding("data", name, State.OK, f"{settings.collection}: in {files.location}")


def _first_stage(settings: DataSettings, files: CollectionFiles, cache: Path, space: dict[Path, int]) -> Finding:
    own_lists = files.own_lists and settings.first_stage == FirstStage.AUTO and settings.run_path is None
    if settings.first_stage == FirstStage.SCOREDDOCS or own_lists:
        state = State.NOTE if files.missing else State.OK  # the missing files include the scoreddocs
        origin = "candidates of the requests" if own_lists else "collection's scoreddocs"
        return Finding("data", settings.name, state, f"first stage: the {origin}, top {settings.depth}")
    auto_run = settings.first_stage == FirstStage.AUTO and (files.runs or settings.run_path is not None)
    if settings.first_stage == FirstStage.RUN or auto_run:
        return _run_file(settings, files)
    if files.collection is not None:
        folder = index_folder(files.collection, settings.bm25, cache)
        if folder.is_dir():
            return Finding("data", settings.name, State.OK, f"first stage: BM25 index in {folder}")
    detail = "first stage: BM25 index"
    if files.passages:
        size = 2 * INDEX_BYTES * files.passages
        index = f"{files.passages_id} {hash(settings.bm25)}"  # benchmarks over the same passages share one index
        space[cache / "bm25" / index] = size
        minutes = round(INDEX_SECONDS * files.passages / 60)
        time = f"about {minutes} min" if minutes else "less than a minute"
        detail += f" of {files.passages:,} passages ({time}, {gib(size)} during the build)"
    detail += ", built at first use" + ("" if files.passages else " if no earlier run built it")
    return Finding("data", settings.name, State.PENDING, detail)


def _run_file(settings: DataSettings, files: CollectionFiles) -> Finding:
    runs = dict(files.runs)
    if settings.run_path is None:
        found = next(iter(runs.values())) if len(runs) == 1 else None
        listed = f" ({', '.join(runs)})" if runs else ""
        expected = f"one run file in {files.location}, which holds {len(runs)}{listed}, or run_path"
    else:
        path = Path(settings.run_path).expanduser()
        found = path if path.is_file() else runs.get(settings.run_path)
        expected = str(path)
    if found is None:
        return Finding("data", settings.name, State.MISSING, f"first stage: no run file; expected {expected}")
    return Finding("data", settings.name, State.OK, f"first stage: the run {found}")


def _existing(path: Path) -> Path:
    """The path itself, or the nearest existing folder above it."""
    path = path.expanduser().absolute()
    return path if path.exists() else _existing(path.parent)
