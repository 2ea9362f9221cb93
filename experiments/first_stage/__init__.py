"""BM25 against published scores. See README.md here."""
