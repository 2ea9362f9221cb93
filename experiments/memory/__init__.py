"""Estimates of memory against what is measured. See README.md here."""
