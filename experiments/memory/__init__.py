"""Estimated against measured memory. See README.md."""
