"""BM25 as first stage: indexes of any size on disk."""
