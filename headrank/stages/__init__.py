"""The stages of an experiment: select, rerank, score, report. Each knows its artifacts and skips what is there."""
