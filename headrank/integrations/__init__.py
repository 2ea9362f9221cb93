"""The reranker as a component of other libraries, a module for each library.

All of them return the raw score `RerankResult.score`, which orders the passages of one list. If the heads have a
probability map, documents with metadata also get `relevance_probability`. Ids, metadata and texts are passed on
unchanged. `model` is a `Reranker` or what `Reranker.from_pretrained` loads, with its other arguments as keywords.
"""
