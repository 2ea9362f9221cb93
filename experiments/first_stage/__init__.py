"""BM25 compared with published scores. See README.md."""
