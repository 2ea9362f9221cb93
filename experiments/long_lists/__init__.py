"""Ways to rerank lists that one prompt cannot hold. See README.md here."""
