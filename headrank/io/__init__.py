"""Writes the files of a run: atomically, with keys, checksums and locks. Also reads JSON and measures memory."""
