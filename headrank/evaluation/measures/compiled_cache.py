"""Choose the folder of numba's compiled code. Loading that code runs it, so only the user may write to the folder."""

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
    """Return a private folder for compiled code: `headrank-compiled` in the user's cache folder, created if absent.

    It is not in `$HEADRANK_CACHE`, which several users may share. The files are pickles, so whoever can write them can
    run code in the process that reads them.

    Returns:
        The folder. If it is not private (see `is_private`) or cannot be created, a warning is logged, and a new
        temporary folder is returned, which is removed when the process ends.
    """
    folder = user_cache_path("headrank-compiled")
    try:
        for path in (folder.parent, folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = "other users can write to it or to a folder above it" if not is_private(folder) else None
    except OSError as error:
        reason = str(error)
    if reason is None:
        return folder
    temporary = Path(tempfile.mkdtemp(prefix="headrank-numba-"))  # mode 700
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    logger.warning(
        "%s cannot keep compiled code (%s): this process compiles again, which takes half a minute. Remove the folder, "
        "fix its owner and mode, or set NUMBA_CACHE_DIR",
        *(folder, reason),
    )
    return temporary


def is_private(folder: Path) -> bool:
    """Return whether only this user and root can write to the folder or replace it.

    The folder must belong to this user, and neither group nor others may write to it. The folders above it are checked
    too, up to the first one of this user that nobody else can enter. They may also belong to root, and others may write
    to them if their sticky bit is set.
    """
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
