"""Where things that can be made again are kept between runs: the converted default model, BM25 indexes."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """`$HEADRANK_CACHE` where it is set, else the user's cache folder for `headrank`. Not created here."""
    return Path(os.environ.get("HEADRANK_CACHE") or user_cache_path("headrank"))
