"""The stages of an experiment: select, align, rerank. Each stage reuses its existing artifacts."""
