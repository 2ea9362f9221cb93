"""Retrieve with BM25 as the first stage, with memory-mapped indexes of any size."""
