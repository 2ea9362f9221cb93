"""Compute, store and reuse key and value states of passages that attend only to themselves and the opening."""
