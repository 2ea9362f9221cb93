"""Files that a run leaves: written whole or not at all, with keys, checksums and locks."""
