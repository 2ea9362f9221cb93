"""Compare several runs in one report."""
