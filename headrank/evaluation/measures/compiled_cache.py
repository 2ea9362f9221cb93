"""Where numba keeps compiled code: in a folder that nobody but the user can write, since loading it runs it."""

import atexit
import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

logger = logging.getLogger(__name__)


def compiled_code_folder() -> Path:
    """The folder `headrank-compiled` in the user's cache folder, made if it is absent.

    Not in `$HEADRANK_CACHE`, which several users may share: the files are pickles, so whoever can write them runs code
    in the process that reads them. If the folder is not private (another owner, others can write it or replace it) or
    cannot be made, a new temporary folder, with a warning; it is removed when the process ends.
    """
    folder = user_cache_path("headrank-compiled")
    try:
        for path in (folder.parent, folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = "others can write it or a folder above it" if not is_private(folder) else None
    except OSError as error:
        reason = str(error)
    if reason is None:
        return folder
    temporary = Path(tempfile.mkdtemp(prefix="headrank-numba-"))  # mode 700
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    logger.warning(
        "%s cannot keep compiled code (%s): this process compiles again, half a minute. Remove it, or fix "
        "its owner and mode, or set NUMBA_CACHE_DIR",
        *(folder, reason),
    )
    return temporary


def is_private(folder: Path) -> bool:
    """Whether only this user (and root) can write into the folder or replace it: it is a folder of this user's that no
    group and no others can write, and so are the folders above it (root's and sticky ones are fine too), up to one that
    lets nobody else in."""
    if not hasattr(os, "geteuid"):
        return True  # Windows: the user's cache folder is private by its access list
    user = os.geteuid()
    entry = os.lstat(folder)
    if not stat.S_ISDIR(entry.st_mode) or entry.st_uid != user or entry.st_mode & 0o022:
        return False
    for above in folder.resolve().parents:
        entry = os.lstat(above)
        sticky = bool(entry.st_mode & stat.S_ISVTX)
        if entry.st_uid not in (0, user) or (entry.st_mode & 0o022 and not sticky):
            return False
        if entry.st_uid == user and not entry.st_mode & 0o011:
            return True
    return True
