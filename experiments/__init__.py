"""Recipes of the measured results, each with its table beside it."""
