"""Runs kept in the cache folder for other experiments that would make the very same ones.

In a sweep over alignments the systems that no training touches (the heads before it, the other systems) are the same in
every job. A run's key is made of all that it depends on, so that what is found under it is what would be computed.
"""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from headrank.data import read_run, write_run
from headrank.files import atomic_folder, atomic_write

logger = logging.getLogger(__name__)

_RUN, _CONTEXTS = "run.trec", "contexts.json"


class SharedRuns:
    """Runs by their keys, in one folder that several processes may use at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, key: str, run: Path, contexts: Path, tag: str, write: Callable[[Path], None]) -> None:
        """Put the run of this key to `run`, under this tag, and its scores in context order to `contexts`: taken over
        where they are kept, else made by `write(run)`, which writes both, and kept."""
        kept = self.folder / key
        if kept.is_dir():
            with atomic_write(contexts) as file:
                file.write((kept / _CONTEXTS).read_text(encoding="utf-8"))
            write_run(run, read_run(kept / _RUN), tag=tag)
            logger.info("rerank: %s taken from %s", run.name, kept)
            return
        write(run)
        with atomic_folder(kept) as scratch:
            shutil.copyfile(run, scratch / _RUN)
            shutil.copyfile(contexts, scratch / _CONTEXTS)
