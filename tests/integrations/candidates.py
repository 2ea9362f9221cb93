"""Candidate lists for the tests of all integrations: odd ids and metadata, repeated ids and texts, empty lists."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

QUERY = "what causes tides"
TEXTS = ["The moon pulls the sea.", "", "Bread rises because of yeast.", "The moon pulls the sea.", "ship " * 9]

ids = st.text(min_size=1, max_size=6)
values = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers())
metadata = st.dictionaries(st.text(max_size=5), values, max_size=3)
candidates = st.lists(st.tuples(ids, st.sampled_from(TEXTS) | st.text(max_size=20), metadata), max_size=5)
"""Lists of (id, text, metadata); ids and texts may repeat."""
counts = st.none() | st.integers(1, 9)
"""A number of results, often more than there are candidates."""

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""Each example is a forward pass."""


def ranked(reranker, candidates, count=None):
    """What a framework should return: (candidate, result) pairs, straight from the reranker."""
    return [(candidates[r.index], r) for r in reranker.rank(QUERY, [text for _, text, _ in candidates], count)]
