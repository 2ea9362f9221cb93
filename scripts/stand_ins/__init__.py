"""Synthetic collections and tiny models in the formats of the real ones, to rehearse an experiment offline."""
