"""The stages of an experiment: select heads, align the model, rerank the benchmarks.

Each stage reuses artifacts that already exist with the same key (`headrank.io.artifacts`).
"""
