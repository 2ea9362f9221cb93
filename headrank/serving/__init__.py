"""The HTTP service: reranking routes of several APIs on one reranker, with a queue that batches across clients.

`headrank serve` starts it. It needs the extra `serve`; `headrank.serving.settings` does not.
"""
