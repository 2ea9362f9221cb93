"""Decoding-free reranking without training: heads, calibrations and orders compared. See README.md here."""
