"""Measures of rankings against judgements, and the file format of the results."""
