"""Probabilities of relevance: the form of the map, and how far it carries over. See README.md here."""
